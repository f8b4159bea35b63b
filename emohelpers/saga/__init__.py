"""SAGA, Semantic Active Generative Augmentation: rare classes are filled with edits of real faces that pass a guard.

`balance` says how many edits of which faces, `editors` make them, `gates` and `guard` judge them, `generation` runs
all that and can be killed, `fractions` trains with more and less of them and says whether it helped.
"""
