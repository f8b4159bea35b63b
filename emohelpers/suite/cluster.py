"""The same plan on several machines: Ray places the runs, which read and write one shared outputs folder."""

import os
import secrets
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from emohelpers.config import paths
from emohelpers.suite import runs
from emohelpers.suite.runs import Outcome, Run


def _work(run: Run, home: str, options: dict[str, Any]) -> Outcome:
    os.chdir(home)
    return runs.execute(run, **options)


class Cluster:
    """An engine of `batch`: one run a graphics card where the cluster has any, else one for each `threads` cores.

    Without an address a cluster of this machine alone: it listens on the loopback and takes orders by a token.

    The folder we stand in, the outputs and this Python environment must be there on every machine, under the same path.
    """

    def __init__(self, address: str = "", places: int = 0, threads: int = 0):
        variables = {"EMOHELPERS_OUTPUTS": str(paths.outputs_root()), "EMOHELPERS_CACHE": str(paths.cache_folder())}
        if roots := paths.input_roots():
            variables["EMOHELPERS_INPUTS"] = os.pathsep.join(str(root.resolve()) for root in roots)
        if not address:  # both are read when Ray is imported
            os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # on Linux too: no other machine can join
            os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        import ray  # an extra

        self.ray = ray
        environment = {"env_vars": variables}
        ray.init(address=address or "local", runtime_env=environment, log_to_driver=False, configure_logging=False)
        resources = ray.cluster_resources()
        cards = int(resources.get("GPU", 0))
        cores = int(resources.get("CPU", 1))
        self.threads = threads or max(cores // places, 1) if places else threads or 1
        self.places = cards or max(cores // self.threads, 1)
        self.work = ray.remote(num_cpus=self.threads, num_gpus=1 if cards else 0, max_retries=0)(_work)
        self.going: list[Any] = []  # Ray's references

    def submit(self, run: Run, **options: Any) -> "Future[Outcome]":
        """A run on whichever machine has room."""
        options = {**options, "OMP_NUM_THREADS": str(self.threads)}
        self.going.append(self.work.remote(run, str(Path.cwd()), options))
        return self.going[-1].future()

    def close(self) -> None:
        """Ends what is going on, and this program's part of the cluster."""
        for reference in self.going:
            self.ray.cancel(reference, recursive=True)  # a KeyboardInterrupt there, which ends the run's processes
        self.ray.wait(self.going, num_returns=len(self.going), timeout=20) if self.going else None
        self.ray.shutdown()
