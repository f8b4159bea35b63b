"""Forms in which data sets are handed out and which are not read as they are: what each is, and what to do."""

import re
from pathlib import Path

from emohelpers.datasets.locate import DEPTH, Tree

PARQUET = """{file} is a parquet file, with pictures and labels in one. Make files of it, run below {root}:
python -c "import pandas, pathlib
t = pandas.read_parquet('{file}').reset_index(drop=True)
t['path'] = ['pictures/%06d.png' % i for i in t.index]
pathlib.Path('pictures').mkdir()
for path, picture in zip(t['path'], t['image']): pathlib.Path(path).write_bytes(picture['bytes'])
t[['path', 'label']].to_csv('labels.csv', index=False)"
and say in a YAML what its numbers mean: labels: {{0: <emotion>, ...}}. The card of the data set has their order."""
AFFECTNET = """{file}: AffectNet as its authors give it, a label a file (.npy). Make a table of them, run below {root}:
python -c "import glob, numpy, pandas
labels = {{f[:-8]: int(numpy.load(f)) for f in sorted(glob.glob('**/*_exp.npy', recursive=True))}}
t = pandas.DataFrame(labels.items(), columns=['path', 'label'])
t['path'] = t['path'].str.replace('annotations', 'images') + '.jpg'
t.to_csv('labels.csv', index=False)"
and read it by OVERRIDES = {{"manifest": "affectnet_yakhyokhuja", "labels_csv": "labels.csv"}}, which has its order."""
FORMS = {  # of a path below the root -> what it is, and the way forward
    r".*\.parquet": PARQUET,
    r".*\d_exp\.npy": AFFECTNET,
    r"(.*/)?list_patition_label\.txt": "{file} is RAF-DB's own list: the manifest rafdb reads it.",
    r"(.*/)?labels/[^/]+\.txt": "{file}: boxes for a detector (YOLO). Cut the faces out, into a folder a class.",
    r".*(\.(h5|hdf5|mat|npz|pkl|tfrecords?|mdb|arrow)|(?<!_exp|_aro|_val|_lnd)\.npy)": "{file} holds arrays: make "
    "picture files of them.",
    r".*\.(zip|tar|t?gz|7z|rar)": "{file} is packed: unpack it.",
    r".*\.(csv|tsv)": "{file} is a table: name the one that you mean as LABELS_CSV.",
}


def advice(tree: Tree, root: Path) -> str:
    """A sentence and a line end for each known form of which there is a file below `root`."""
    names = []
    for level in tree.levels(root.as_posix(), DEPTH - 1):
        for folder in level:
            names += [f"{folder}/{file}".removeprefix(f"{root.as_posix()}/") for file in tree.files(folder)]
    sentences = []
    for pattern, text in FORMS.items():
        if file := next(filter(re.compile(pattern, re.IGNORECASE).fullmatch, names), ""):
            sentences.append(text.format(file=file, root=root) + "\n")
    return "".join(sentences)
