# Generated from nbs/88_fuzz.ipynb; edit the notebook, not this file
import ast, csv, hashlib, io, json, math, os, random, re, select, shutil, signal, subprocess, sys, tempfile
import threading, warnings, zlib
from collections import Counter, defaultdict
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from functools import lru_cache, partial
from importlib.metadata import entry_points
from itertools import groupby
from pathlib import Path
from typing import NamedTuple
from unittest import mock
import cv2, numpy as np, torch
from fastcore.basics import patch
from PIL import Image
from safetensors.torch import save_file
import stereo_kd
from stereo_kd import testing
from stereo_kd.demo import match_files
from stereo_kd.cli import limit_memory
from stereo_kd.adapt import PseudoTruth, adapt_files
from stereo_kd.core import claim, commit, pick, put_aside, read_json, read_run, read_text, run_folder, save_run, set_seed, write_rows
from stereo_kd.data.eth3d import eth3d
from stereo_kd.data.files import PairFile, PairFiles, read_split
from stereo_kd.data.folder import folder as pairs_of_folder
from stereo_kd.data.io import read_bytes, read_disparity, read_image, read_pfm, read_pixels, write_disparity, write_pfm
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.data.middlebury import middlebury, read_calib
from stereo_kd.data.sceneflow import sceneflow
from stereo_kd.data.scenes import MAGIC, KeptScenes, ScenePairs, keep_scenes, read_views
from stereo_kd.deploy import export, speed
from stereo_kd.evaluation.evaluate import evaluate, evaluate_files, evaluate_frames, from_folder, open_pairs, real_pairs
from stereo_kd.inference.calibration import read_calibration
from stereo_kd.inference.image import to_image
from stereo_kd.finetune import finetune_files
from stereo_kd.inference.files import halves, predict_files, Video, write_video
from stereo_kd.inference.points import write_ply
from stereo_kd.inference.predict import predict
from stereo_kd.models import zoo
from stereo_kd.models.import_weights import import_weights, published, published_name
from stereo_kd.models.madis import load_pretrained
from stereo_kd.models.zoo import create_model, load_model, publish, read_card, save_model
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.train.learner import StateCallback, fit, last_good, stereo_learner
from stereo_kd.train.stages import Plan, Step, average_weights, prune_stages, train_stage
from stereo_kd.train.state import drop_states, read_state, write_state
from fastcore.test import *
import matplotlib.pyplot as plt
import pytest
from stereo_kd.fuzz import *

def test_each_damage_does_something():
    data = bytes(range(48,58))*20
    for kind in DAMAGES:
        made = {damaged(data, [Damage(kind, at, v)], b'abc') for at in (0, .3, .999, 1) for v in (0, 1, 12345, 2**32-1)}
        assert len(made)>1 and data not in made, kind
    test_eq(damaged(data, [Damage('cut', .5, 2)], b''), data[:100])
    test_eq(damaged(data, [Damage('cut', .5, 3)], b''), data[:32]) # among the first 64 bytes
    test_eq(damaged(b'', [Damage(k, .5, 7) for k in DAMAGES], b'x'), b'')
    tree = dict(a=[1,dict(b=2)], c='x')
    seen = {json.dumps(json.loads(damaged(json.dumps(tree).encode(), [Damage('json', 0, 2*v)], b''))) for v in range(0, 20_000, 7)}
    assert len(seen)>60 and json.dumps(dict(a=[1,dict(b=2)])) in seen # one value after the other; a key left out

def test_outcomes_are_told_apart():
    def raises(e):
        def read(): raise e
        return attempt(read, ['a.png','/data']).kind
    test_eq(attempt(lambda: 3, ['a']).kind, 'accepted')
    test_eq([raises(ValueError('a.png is damaged')), raises(FileNotFoundError(2, 'No such file', '/data/b'))], ['refused']*2)
    bugs = (ValueError('damaged'), KeyError('a.png'), MemoryError('a.png'), RecursionError())
    test_eq([raises(e) for e in bugs], ['traceback']*4)
    def command(line, code):
        def read():
            print(line, file=sys.stderr)
            raise SystemExit(code)
        return attempt(read, ['a.png']).kind
    test_eq(command('x: a.png is damaged', 2), 'refused')
    test_eq([command('x: damaged', 2), command('a.png', 1), command('two lines\na.png', 2)], ['traceback']*3)
    import time
    def patient(): # an error of its own does not hide a hang
        with alarm(.05, 9):
            while True:
                try: sum(range(1000))
                except Exception: pass
    def waits():
        with alarm(9, .05): time.sleep(5)
    if os.name=='posix':
        test_eq([attempt(patient, []).kind, attempt(waits, []).kind], ['hang']*2)
        test_fail(patient, exc=Hang)
    test_eq(Outcome('hang').text, '')

def test_a_target_is_entered_by_name():
    from unittest.mock import patch as mocked
    with mocked.dict(TARGETS, clear=True):
        @target('mine', lambda folder: None, 2)
        def _(folder, path): return path
        test_eq([list(TARGETS),TARGETS['mine'].share,TARGETS['mine'].read('a', 'b')], [['mine'],2,'b'])
        assert isinstance(TARGETS['mine'], Target)
    assert len(TARGETS)>20
    test_eq(tiny_network() is tiny_network(), True)

def test_a_bench_mends_what_it_damages():
    with tempfile.TemporaryDirectory() as d:
        bench = Bench('texts', d)
        test_eq([p.name for p in bench.files], ['made_from.json','run.json','split.txt'])
        def now(): return {p:p.read_bytes() for p in bench.folder.iterdir()}
        whole = now()
        bench.warm()
        natures = NATURES if os.name=='posix' else NATURES[:2]
        test_eq({bench.try_one(.5, n).kind for n in natures}, {'refused'})
        test_eq(bench.try_one(0, [Damage('cut', .5, 2)]).kind, 'refused')
        test_eq(bench.try_one(1, [Damage('insert', 1, 2*0x20202020)]).kind, 'accepted') # blanks at the end of a list
        test_eq(now(), whole)
        for n in natures:
            become(bench.folder/'run.json', n)
            bench.mend()
            test_eq(now(), whole)
        bench.read = lambda path: int('x') # a reader that does not say which file it was
        test_eq(bench.try_one(.5, []), Outcome('traceback', "ValueError: invalid literal for int() with base 10: 'x'"))
        test_eq(bench.draw('a 1'), bench.draw('a 1'))
        assert bench.draw('a 1')!=bench.draw('a 2')

@pytest.mark.slow
def test_damage_ends_in_a_sentence():
    from hypothesis import HealthCheck, given, settings, strategies as st
    from stereo_kd.deploy.speed import peak_memory
    quick = sorted(n for n,t in TARGETS.items() if t.share>=.3)
    change = st.builds(Damage, st.sampled_from(sorted(DAMAGES)), st.floats(0, 1), st.integers(0, 2**32-1))
    natures = st.sampled_from(NATURES if os.name=='posix' else NATURES[:2])
    any_changes = st.one_of(st.lists(change, min_size=1, max_size=3), natures)
    with tempfile.TemporaryDirectory() as d:
        benches,counts = {},Counter()
        @settings(max_examples=300, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(st.sampled_from(quick), st.floats(0, 1), any_changes)
        def check(name, which, changes):
            if name not in benches:
                benches[name] = Bench(name, d)
                benches[name].warm()
            outcome = []
            mib = peak_memory(lambda: outcome.append(benches[name].try_one(which, changes)))
            counts[outcome[0].kind] += 1
            assert outcome[0].kind in ('accepted','refused') and not mib>500, (outcome,mib)
        check()
    assert counts['refused']>counts['accepted']>0 and counts.total()>=250, counts
    test_eq(sorted(benches), quick)

@pytest.mark.slow
def test_the_long_run_survives_its_inputs():
    from stereo_kd import fuzz # the functions that the worker has
    code = '''import json, os, signal, time
with os.fdopen({out}, 'w') as lines:
    for name,first,last in {parts}:
        for k in range(first, last):
            if (name,k)==('x',3): {end}
            print(json.dumps([name, k, 'traceback' if k==1 else 'refused', 2.5*k, 'KeyError']), file=lines, flush=True)'''
    if os.name=='posix':
        for end,last in (('os.kill(os.getpid(), signal.SIGKILL)','traceback: the process has died'),
                         ('signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 60)); time.sleep(99)','hang: no signal was heard')):
            with mock.patch.object(fuzz, '_code', lambda parts,seed,out: code.format(parts=parts, out=out, end=end)):
                found = list(fuzz.fuzz_targets(dict(x=6, y=2, none=0, z=4), seed=3, patience=60 if 'died' in last else 5))
            died = 'died' in last
            test_eq([f for _,f in found], [[(1, 'traceback: KeyError'),(3, last)]]+[[(1, 'traceback: KeyError')]]*2)
            counts = [[r[k] for k in ('reader','inputs','accepted','refused','tracebacks','hangs','peak_mib','seed')] for r,_ in found]
            test_eq(counts, [['x',6,0,4,1+died,1-died,12.5,3],['y',2,0,1,1,0,2.5,3],['z',4,0,3,1,0,7.5,3]])

@pytest.mark.slow
def test_a_worker_tries_its_part_of_the_inputs():
    from stereo_kd import fuzz
    def tried(first, last, run=fuzz.work):
        end,out = os.pipe()
        run([('calibrations',first,last)], 3, out)
        with os.fdopen(end) as lines: found = [json.loads(line) for line in lines]
        test_eq({name for name,*_ in found}, {'calibrations'})
        return [line for _,*line in found]
    def a_process(*args): exec(fuzz._code(*args)) # what a worker runs, here in this process
    if os.name=='posix':
        found = tried(2, 30)
        test_eq([k for k,*_ in found], [*range(2, 30)])
        test_eq({kind for _,kind,*_ in found}, {'accepted','refused'})
        test_eq([(kind,text.split('/')[-1]) for _,kind,_,text in tried(8, 10, a_process)],
                [(kind,text.split('/')[-1]) for _,kind,_,text in found[6:8]])
        assert all(text if kind=='refused' else not text for _,kind,_,text in found)
        taken = []
        def hungry(folder, path):
            taken.append(len(taken))
            if len(taken)==2: taken[0] = np.ones(2**24, np.uint8) # 16 MiB; the first call reads the valid file
            if len(taken)==3: raise KeyError('x')
            if len(taken)==4: np.ones(2**33, np.uint8) # more than a worker may have
        with mock.patch.dict(fuzz.TARGETS, calibrations=fuzz.TARGETS['calibrations']._replace(read=hungry)):
            found = tried(0, 4)
        kinds = [(kind,text.split(':')[0].strip('_')) for _,kind,_,text in found]
        test_eq(kinds[:2], [('accepted',''),('traceback','KeyError')])
        if sys.platform=='linux' and not torch.cuda.is_available():
            assert kinds[2][0]=='traceback' and kinds[2][1].endswith('MemoryError') and kinds[3][0]=='accepted', kinds
            assert 15<found[0][2]<40 and found[3][2]<5, found

def test_the_command_writes_a_row_for_each_reader():
    from stereo_kd import fuzz
    def counted(inputs, seed, bad=0):
        for name,n in inputs.items():
            asked.append(name)
            row = dict(exp='fuzz', reader=name, inputs=n, accepted=1, refused=n-1-bad, tracebacks=bad, hangs=0, peak_mib=2.)
            yield row|dict(seed=seed, commit='c'),[(7, 'traceback: x')]*bad
    def run(*names, n=10, **kw):
        asked.clear()
        with mock.patch.object(fuzz, 'fuzz_targets', counted), redirect_stdout(io.StringIO()) as said:
            failed = fuzz.fuzz_readers(names, inputs=n, out=f'{d}/fuzz.csv', **kw)
        with open(f'{d}/fuzz.csv') as f: rows = list(csv.DictReader(f))
        assert set(FUZZ_COLUMNS)<=set(rows[0]) and all(f"'reader': '{n}'" in said.getvalue() for n in asked)
        assert said.getvalue().splitlines()[-1].startswith("{'inputs': ") # the total
        return [(r['reader'],int(r['inputs'])) for r in rows],[*asked],failed
    asked = []
    with tempfile.TemporaryDirectory() as d:
        test_eq(run('calibrations', 'texts'), ([('calibrations',5),('texts',5)],['calibrations','texts'],0)) # of equal shares
        test_eq(run('texts', 'calibrations'), ([('calibrations',5),('texts',5)],[],0)) # all is there
        test_eq(run('calibrations', 'states', n=30)[1], ['calibrations','states']) # more inputs than there are
        test_eq(run('texts', n=5, seed=1)[1], ['texts']) # other inputs
        good = counted
        counted = lambda inputs, seed: good(inputs, seed, bad=2)
        test_eq(run('images', seed=1)[2], 2)
        counted = good
        test_eq(run('images', seed=1)[1], ['images']) # what failed is tried again
    test_fail(lambda: fuzz_readers(['nobody']), contains="unknown target 'nobody'")

def test_readers_are_found_in_the_source():
    code = '''
from pathlib import Path
def direct(path): return Path(path).read_text()
def second(n, path='a'): return direct(path)
def named(where): return second(3, path=where)
def variable(a, b):
    x,y = Path(a)/'c',b
    with open(x) as f: return f.read()
def loop(files): return [open(f) for f in files]
def table(name, path): return readers[name](path)
readers = dict(direct=direct, second=second)
def written(path): open(path, 'w').write('x')
def number(path:int): return direct(path)
def other(path): return len(path)
def _hidden(path): return direct(path)
def through_hidden(path): return _hidden(path)
class Lazy:
    def __init__(self, folder, n): self.folder,self.n = Path(folder),n
    def load(self): return direct(self.folder/'x')
    def named(self, name): return list(Path(name).glob('*'))
@patch
def more(self:Lazy, file): return second(1, file)
def by_method(lazy, file): return lazy.more(file)
def too_many(text): return text.named(text, 3)
class Other: # has a method of that name itself
    def named(self, x): return x
    def calls(self, x): return self.named(x)
class Base:
    def render(self, i): return self.views(i)
class Kept(Base):
    def views(self, i): return direct(i)
'''
    other = '''
from package.a import direct as first, second
def variable(path, b): return 3
def quiet(path): return variable(path, 1)
def loud(path): return second(1, path)
'''
    third = '''
from .b import variable
def silent(path): return variable(path, 1)
'''
    with tempfile.TemporaryDirectory() as d:
        for name,text in (('a',code),('b',other),('c',third)): (Path(d)/f'{name}.py').write_text(text)
        found = {(f'{o}.' if o else '')+n: v for (_,o,n),v in file_readers(d).items()}
    functions = dict(direct=['path'], second=['path'], named=['where'], variable=['a'], loop=['files'], through_hidden=['path'],
                     by_method=['file'])
    functions |= {'loud':['path'], 'Base.render':['i'], 'Kept.views':['i']}
    test_eq(found, functions|{'table':['path'], 'Lazy.__init__':['folder'], 'Lazy.named':['name'], 'Lazy.more':['file']})

@pytest.mark.slow
def test_every_reader_has_a_target():
    from stereo_kd.fuzz import TARGETS, Bench, called, file_readers # of the module: the notebook's are in `__main__`
    readers = file_readers(Path(stereo_kd.__file__).parent)
    for known in (('data.io','','read_image'), ('models.zoo','','load_model'), ('train.cache','CachedTeacher','__init__'),
                  ('data.loaders','StereoDataLoaders','from_kitti2015'), ('deploy.speed','','bench_networks')): assert known in readers, known
    with tempfile.TemporaryDirectory() as d:
        reached = set().union(*(called(Bench(name, d).warm) for name in TARGETS))
    tools = 'fuzz','docs' # `docs` reads what `project` reads, and is run on this repository by `make test`
    missing = [k for k in readers if k[0] not in tools and (k[0], k[1] if k[2]=='__init__' else k[2]) not in reached]
    assert not missing, f'no target of nbs/88_fuzz.ipynb calls {missing}'
    commands = [tuple(e.value.removeprefix('stereo_kd.').split(':')) for e in entry_points(group='console_scripts')
                if e.value.startswith('stereo_kd.')]
    served = 'stereo_kd_fuzz','stereo_demo' # the second waits for a browser; what its page reads, `match_files` reads
    test_eq([c for c in commands if c not in reached and c[0]!='docs' and c[1] not in served], [])
    assert ('commands','stereo_predict') in commands, commands
    assert ('core','pad_to') in called(lambda: stereo_kd.core.pad_to(torch.ones(1,1,3,3), 4))

def test_the_kept_run_is_clean():
    from stereo_kd.testing import project_root
    with open(project_root()/'data/results/fuzz.csv') as f: rows = list(csv.DictReader(f))
    assert sum(int(r['inputs']) for r in rows)>=100_000 and min(int(r['inputs']) for r in rows)>=100
    assert {r['reader'] for r in rows}==set(TARGETS)
    for r in rows: test_eq([r['tracebacks'],r['hangs'],float(r['peak_mib'])<500], ['0','0',True])
