"""Runs placed by Ray on a cluster of two nodes give what the plain engine gives."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import write

HOME = Path(__file__).parents[1]
TRAIN = """import json, os, torch
from pathlib import Path
torch.manual_seed(SEED)
x = torch.randn(256, 8); y = (x.sum(1) > 0).long()
net = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 2))
mover = torch.optim.AdamW(net.parameters(), 1e-2)
for _ in range(30):
    mover.zero_grad(); loss = torch.nn.functional.cross_entropy(net(x), y); loss.backward(); mover.step()
place = Path(os.environ['EMOHELPERS_OUTPUTS']) / os.environ['EMOHELPERS_RUN'] / '01_a'
(place / 'metrics.json').write_text(json.dumps({'figures': {'loss': {'value': loss.item()}}}))
(place / 'node').write_text(os.environ.get('NODE', 'plain'))"""


LISTENING = """import os, psutil
from emohelpers.suite.cluster import Cluster
engine = Cluster(threads=1)
processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
sockets = [c.laddr.ip for p in processes for c in p.net_connections('inet') if c.status == 'LISTEN']
print(len(sockets), {ip.removeprefix('::ffff:') for ip in sockets}, os.environ['RAY_AUTH_MODE'], engine.places > 0)
engine.close()"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_cluster_of_this_machine_listens_on_the_loopback_alone_and_asks_for_a_token(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    environment = os.environ | {"PYTHONPATH": str(HOME), "HOME": str(tmp_path)}
    ran = subprocess.run([sys.executable, "-c", LISTENING], env=environment, capture_output=True, text=True)
    count, rest = ran.stdout.strip().splitlines()[-1].split(" ", 1)
    assert int(count) > 4 and rest == "{'127.0.0.1'} token True", ran.stdout + ran.stderr
    assert not (tmp_path / ".ray").exists()  # the token is nowhere on the disk


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_nodes_give_what_one_machine_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster as Nodes

    write(tmp_path, "01_a", TRAIN)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HOME), *filter(None, [os.environ.get("PYTHONPATH")])]))
    command = [sys.executable, "-m", "emohelpers", "run", "--grid", "SEED=1,2,3,4", "--threads", "1"]

    def grid(outputs: str, *more: str) -> str:
        environment = os.environ | {"EMOHELPERS_OUTPUTS": str(tmp_path / outputs)}
        ran = subprocess.run([*command, *more], cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert ran.returncode == 0 and "4 of 4 done" in ran.stdout, ran.stdout + ran.stderr
        return ran.stdout

    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, "env_vars": {"NODE": "first"}})
    try:
        nodes.add_node(num_cpus=1, env_vars={"NODE": "second"})
        nodes.wait_for_nodes()
        grid("ray", "--engine", "ray", "--address", nodes.address)
        start = time.monotonic()
        again = grid("ray", "--engine", "ray", "--address", nodes.address)
        assert again.count("done before") == 4 and time.monotonic() - start < 120
    finally:
        nodes.shutdown()
    grid("plain")

    def figures(outputs: str) -> list[dict]:
        places = [tmp_path / outputs / f"demo@SEED={seed}" / "01_a" for seed in (1, 2, 3, 4)]
        return [json.loads((place / "metrics.json").read_text()) for place in places]

    assert figures("ray") == figures("plain") and len({json.dumps(one) for one in figures("ray")}) == 4
    used = {path.read_text() for path in (tmp_path / "ray").glob("*/01_a/node")}
    assert used == {"first", "second"}, f"both nodes should have worked: {used}"
