from __future__ import annotations
import json, os, subprocess, sys, threading, shutil, errno, time, signal
from pathlib import Path
import pytest
from bricks import PLUGINS, brick, runs, weights, alive, until
from harness.causes import classify
from harness.dispatch import Summary, run, Event
from harness.execute import execute, settle
from harness.executors import Ended, Executor, Handle
from harness.executors.inline import Inline
from harness.executors.local import Local
from harness.store import Store
from harness.stages import Stage

@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_PLUGINS", PLUGINS)

class _Told:
    def __init__(self, folder, ended): self.folder, self.ended = folder, ended
    def done(self): return True
    def outcome(self): return self.ended

class Script(Executor):
    """Ends stages as told, one after the other."""
    slots = 1
    def __init__(self, *told): self.told = list(told)
    def submit(self, folder):
        name, ended = self.told.pop(0)
        assert folder.name == name
        return _Told(folder, ended)
    def close(self): pass

class Slots2(Script):
    slots = 2
    def submit(self, folder):
        return _Told(folder, self.told[0][folder.name].pop(0))

def test_a(tmp_path):
    """A killed stage whose input was lost and cannot be made meanwhile is blocked."""
    below = brick("below"); one, two = brick("one", below), brick("two", below)
    store = Store(tmp_path)
    run([below], store, Inline())
    class Ex(Executor):
        slots = 2
        def __init__(self): self.handles = {}
        def submit(self, folder):
            h = Late(folder); self.handles.setdefault(folder.name, []).append(h); return h
        def close(self): pass
    class Late:
        def __init__(self, folder): self.folder = folder; self.ended=None
        def done(self): return self.ended is not None
        def outcome(self): return self.ended
    ex = Ex()
    def tell(event: Event):
        if event.what == "started" and len(ex.handles) and event.stage.name == below.name: pass
    def driver():
        until(lambda: one.name in ex.handles and two.name in ex.handles)
        store.withdraw(below.name)
        ex.handles[two.name][0].ended = Ended("waiting", error="x")
        until(lambda: below.name in ex.handles)
        ex.handles[below.name][0].ended = Ended("failed", "bug", "x")
        time.sleep(.3)
        ex.handles[one.name][0].ended = Ended("lost", "killed", "x")
    t = threading.Thread(target=driver); t.start()
    s = run([one, two], store, ex)
    t.join()
    assert s.failed == {below.name: "bug"}
    assert s.blocked == {one.name: below.name, two.name: below.name}

def test_b(tmp_path):
    stage = brick("a"); store = Store(tmp_path); folder = store.prepare(stage); execute(folder)
    home = tmp_path / "published" / "p"; home.mkdir(parents=True)
    shutil.copytree(folder, home / stage.name)
    (folder / "record.json").unlink()
    assert execute(folder).status == "done"

LOG = """
import logging, sys, os
from pathlib import Path
from harness.execute import execute, _log_to
"""
def test_c(tmp_path):
    import logging
    from harness.execute import _log_to
    log = logging.getLogger("zzz"); 
    with _log_to(tmp_path / "a"):
        log.addHandler(logging.StreamHandler()); log.warning("one")
    with _log_to(tmp_path / "b"):
        log.warning("two")
    assert (tmp_path / "a").read_text() == "one\n"
    assert (tmp_path / "b").read_text() == "two\n"

def test_d(tmp_path):
    stage = brick("a", seconds=5)
    folder = Store(tmp_path).prepare(stage)
    code = "import os,sys,time\nfrom pathlib import Path\nfrom harness.executors.local import Local\ne=Local(workers=1,cold=True)\nh=e.submit(Path(sys.argv[1]))\nprint(h.worker.process.pid,flush=True)\nos._exit(0)"
    p = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, timeout=30)
    pid = int(p.stdout)
    time.sleep(3)
    try:
        assert not alive(pid)
        assert not runs(tmp_path)
    finally:
        try: os.kill(pid, 9)
        except OSError: pass

def test_e(tmp_path):
    root = tmp_path / "r"
    stage, other = brick("a", seconds=2.0), brick("b", seconds=2.0)
    gone = []
    def look(event):
        if event.what == "started" and not gone:
            gone.append(1)
            def rm():
                until(lambda: runs(root)); time.sleep(.3); shutil.rmtree(root, ignore_errors=True); shutil.rmtree(root, ignore_errors=True)
            threading.Thread(target=rm).start()
    s = run([stage, other], Store(root), Local(workers=2, cold=True), on_event=look)
    assert set(s.failed) == {stage.name, other.name}
    assert not root.exists()
    print(s)

def test_f(tmp_path):
    stage = brick("a"); folder = Store(tmp_path).prepare(stage)
    text = (folder/"spec.json").read_text()
    (folder/"spec.json").write_text(text.replace('"kind"', '"color":"red","kind"'))
    assert settle(folder, 50).cause == "bad data"
    (folder/"spec.json").write_text("[]")
    assert settle(folder, 50).cause == "bad data"

def test_h():
    assert classify(OSError(errno.ENOMEM, "Cannot allocate memory")) == "out of memory"
    assert classify(RuntimeError("CUDA error: out of memory\nCUDA kernel errors might")) == "out of memory"
