# Generated from nbs/00_core.ipynb; edit the notebook, not this file
import atexit, csv, errno, glob, hashlib, json, os, platform, random, secrets, socket, stat, subprocess
import tempfile, threading, time, weakref
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
import numpy as np, torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import nn, Tensor
from copy import deepcopy
from fastcore.test import *
import matplotlib.pyplot as plt
import pytest
from stereo_kd.core import *

def test_normalize_roundtrip():
    grey = torch.tensor(IMAGENET_MEAN)[:,None,None].expand(3,2,2)
    test_close(normalize(grey).abs().max(), 0, eps=1e-7)
    img = torch.rand(2,3,4,5, generator=torch.Generator().manual_seed(0))
    test_close(denormalize(normalize(img)), img, eps=1e-6)
    test_close(normalize(torch.ones(3,1,1))[0], (1-0.485)/0.229, eps=1e-5)

def test_pad_to_keeps_the_corner():
    x = torch.arange(15.).view(1,1,3,5)
    p = pad_to(x, 4)
    test_eq(tuple(p.shape), (1,1,4,8))
    test_eq(p[...,:3,:5], x)
    test_eq(p[0,0,3,7].item(), 14.)
    assert pad_to(p, 4) is p

def test_check_pair_names_both_shapes():
    test_fail(
        lambda: check_pair(torch.zeros(1,3,4,4), torch.zeros(1,3,4,5)),
        contains='(1, 3, 4, 4) != (1, 3, 4, 5)')

def test_device_is_the_one_that_fastai_takes():
    from fastai import torch_core
    from unittest import mock
    def with_devices(cuda, mps, f):
        has = dict(is_available=lambda: cuda, current_device=lambda: 1)
        with mock.patch.multiple(torch.cuda, **has), mock.patch.object(torch.backends.mps, 'is_available', lambda: mps): return f()
    for cuda,mps,want in ((True,False,'cuda:1'), (True,True,'cuda:1'), (False,True,'mps'), (False,False,'cpu')):
        got = with_devices(cuda, mps, default_device)
        test_eq(got, torch.device(want))
        with mock.patch.object(torch_core, '_has_mps', lambda: mps): test_eq(got, with_devices(cuda, mps, torch_core.default_device))

def test_seeds_repeat():
    def draw(s):
        set_seed(s)
        return random.random(), np.random.rand(), torch.rand(1).item()
    test_eq(draw(3), draw(3))
    test_ne(draw(3), draw(4))
    test_eq(environment()['torch'].split('+')[0], torch.__version__.split('+')[0])
    assert commit().rstrip('+').isalnum() or commit()=='' # a hash, or nothing outside a repository

def test_names_are_chosen_or_listed():
    from unittest import mock
    presets = dict(smoke=1, quick=2, paper=3)
    with mock.patch.dict(os.environ, IN_TEST='1'): test_eq(choose_preset('', presets), ('smoke',1))
    with mock.patch.dict(os.environ):
        os.environ.pop('IN_TEST', None)
        test_eq(choose_preset('', presets), ('quick',2))
    test_eq(choose_preset('paper', presets), ('paper',3))
    test_fail(
        lambda: choose_preset('fast', presets),
        contains="unknown preset 'fast'; known: paper, quick, smoke")

def test_full_disk_leaves_the_old_file():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'runs'/'a.txt'
        with atomic_write(f) as tmp: tmp.write_text('old')
        def full():
            with atomic_write(f) as tmp:
                tmp.write_text('half')
                raise OSError(errno.ENOSPC, 'No space left on device')
        test_fail(full, contains='a.txt: No space left')
        test_eq(f.read_text(), 'old')
        (Path(d)/'b').touch() # as any new file
        test_eq(f.stat().st_mode, (Path(d)/'b').stat().st_mode)
        test_eq([p.name for p in f.parent.iterdir()], ['a.txt'])
        def below_a_file():
            with atomic_write(f/'below') as tmp: tmp.write_text('x')
        test_fail(below_a_file, exc=OSError, contains='cannot write')

def test_what_stood_there_keeps_its_nature():
    from unittest import mock
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        real,link = d/'real.txt',d/'links'/'link.txt'
        real.write_text('old')
        real.chmod(0o640)
        link.parent.mkdir()
        link.symlink_to('../real.txt')
        with atomic_write(link) as tmp: tmp.write_text('new')
        assert link.is_symlink()
        test_eq(
            [real.read_text(),real.stat().st_mode & 0o777,[p.name for p in link.parent.iterdir()]],
            ['new',0o640,['link.txt']])
        os.mkfifo(d/'pipe')
        def write(path):
            with atomic_write(path) as tmp: tmp.write_text('x')
        for path,kind in ((d/'pipe','device or a pipe'), ('/dev/null','device or a pipe'), (d/'links','folder')):
            test_fail(lambda: write(path), exc=OSError, contains=f'it is a {kind}')
        order = []
        real_replace,real_fsync = os.replace,os.fsync
        with mock.patch.object(os, 'replace', lambda *a: (order.append('rename'), real_replace(*a))), \
             mock.patch.object(os, 'fsync', lambda fd: (order.append('sync'), real_fsync(fd))): write(real)
        test_eq(order, ['sync','rename','sync']) # the data, the name, the folder

def test_a_killed_process_leaves_nothing_for_long():
    import subprocess, sys
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.txt'
        code = f"""if 1:
        import os, signal
        from stereo_kd.core import atomic_write
        with atomic_write({str(f)!r}) as tmp:
            tmp.write_text('half')
            os.kill(os.getpid(), signal.SIGKILL)"""
        subprocess.run([sys.executable, '-c', code])
        left = list(Path(d).iterdir())
        test_eq(len(left), 1) # it was killed while it wrote
        with atomic_write(f) as mine: # a process that is still writing is left alone
            with atomic_write(f) as tmp: tmp.write_text('new')
            assert mine.exists() and not left[0].exists()
            mine.write_text('newer')
        test_eq([p.name for p in Path(d).iterdir()], ['a.txt'])
        test_eq(f.read_text(), 'newer')

def test_tensors_are_files_like_any_other():
    from safetensors import safe_open
    from unittest import mock
    with tempfile.TemporaryDirectory() as d:
        file,beside = Path(d)/'a.safetensors',Path(d)/'b'
        beside.touch()
        save_tensors(dict(w=torch.arange(3.)), file, about='three')
        test_eq(file.stat().st_mode, beside.stat().st_mode)
        with safe_open(file, 'pt') as f: test_eq([f.metadata(),f.get_tensor('w').tolist()], [dict(about='three'),[0.,1.,2.]])
        seen = []
        with mock.patch.object(Path, 'write_bytes', lambda self, b: seen.append(sorted(p.name for p in Path(d).iterdir()))):
            save_tensors(dict(w=torch.ones(1)), file)
        test_eq([n.startswith('.a.safetensors.') for n in seen[0]], [True,False,False]) # one temporary file, under our own name

def test_an_input_is_no_output():
    with tempfile.TemporaryDirectory() as d:
        a,b,link = (Path(d)/n for n in ('a','b','link'))
        a.touch()
        link.symlink_to(a)
        for out in (a,str(link),f'{d}/../{Path(d).name}/a'):
            test_fail(lambda: check_output(out, b, a), exc=ValueError, contains='is the input')
        check_output(b, a, link, None, np.zeros(3))
        check_output(None, a)

def test_what_is_no_file_is_named():
    from unittest import mock
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        os.mkfifo(d/'pipe')
        (d/'loop').symlink_to('loop')
        (d/'big').write_bytes(b'12345')
        for path,words in ((d,'is a folder'), (d/'pipe','pipe is a device or a pipe'), ('/dev/zero','device or a pipe'),
                           (d/'no','no does not exist'), (d/'big'/'x','x does not exist'), (d/'loop','loop cannot be read'),
                           ('a'*300,'aaa cannot be read'), ('a\0b',"'a\\x00b' is no file name"),
                           (d/'big','big has 5 bytes, more than the 4')):
            for read in (lambda p: check_file(p, 4), lambda p: read_text(p, 4)):
                test_fail(lambda: read(path), exc=(ValueError,OSError), contains=words)
        test_eq(read_text(d/'big'), '12345')

def test_damaged_json_is_named():
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.json'
        for data,words in ((b'{"a": 1', 'a.json is damaged: it is not JSON'), (b'\xff\xfe{', 'a.json is not a text file'),
                           (b'['*200_000, 'a.json is damaged'), (b'[1]', 'it holds a list, not a dict'), (b'', 'not JSON')):
            f.write_bytes(data)
            test_fail(lambda: read_json(f), exc=ValueError, contains=words)
        f.write_text('{"a": 1}')
        test_eq([read_json(f), parse_json('[2]', 'x', list)], [dict(a=1),[2]])

def test_a_folder_is_refused_to_another_request():
    with tempfile.TemporaryDirectory() as d:
        ask = lambda **kw: claim(f'{d}/a', dict(seed=0, size=(64,128), teacher=None)|kw, 'a stage')
        ask()
        ask() # the same again; a tuple is a list on disk
        for kw,words in ((
            dict(seed=7),
            'a stage that was made from something else: seed was 0, is now 7. Use another folder'),
                         (dict(seed=1, new=2), 'seed was 0, is now 1; new was None, is now 2')):
            test_fail(lambda: ask(**kw), exc=OtherRequest, contains=words)
        made_from = Path(f'{d}/a/made_from.json')
        test_eq(read_json(made_from), dict(seed=0, size=[64,128], teacher=None))
        for damaged in ('{"seed": 0', '[0]', ''):
            made_from.write_text(damaged)
            test_fail(ask, exc=ValueError, contains='a/made_from.json is damaged')
            test_eq(made_from.read_text(), damaged)

def test_a_second_process_is_told_who_is_there():
    import sys
    child = 'import fcntl, os, sys; fd = os.open(sys.argv[1], os.O_RDWR|os.O_CREAT); fcntl.lockf(fd, int(sys.argv[2])); ' \
        'print(os.write(fd, b"process %d on earth" % os.getpid()), flush=True); input()'
    @contextmanager
    def elsewhere(how): # another process has the folder inside, and is killed
        other = subprocess.Popen([sys.executable, '-c', child, f'{f}/{LOCK}', str(int(how))], stdin=-1, stdout=-1, text=True)
        with other:
            other.stdout.readline()
            yield other
            other.kill()
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'run'
        if os.name=='posix':
            import fcntl
            f.mkdir()
            with elsewhere(fcntl.LOCK_EX) as other:
                says = f'{f} is in use by process {other.pid} on '
                test_fail(lambda: take(f, wait=0), exc=FolderInUse, contains=says)
                test_fail(lambda: take(f, shared=True, wait=0), exc=FolderInUse, contains=says)
            test_eq([p.name for p in f.iterdir()], [LOCK]) # what a killed process leaves holds nobody
            with hold(f, wait=0), hold(f, wait=0): pass # twice in one process
            test_eq(list(f.iterdir()), [])
            with elsewhere(fcntl.LOCK_SH):
                with hold(f, shared=True, wait=0): pass
                test_fail(lambda: take(f, wait=0), exc=FolderInUse, contains='is in use')
            test_eq(os.path.basename(take(f, wait=0)), LOCK)

def test_rows_have_one_schema():
    with tempfile.TemporaryDirectory() as d:
        write_rows(
            [dict(epe=1.5, network='a', teacher='t'), dict(network='b', set='s')], f'{d}/r.csv',
            own=['teacher'])
        test_eq(Path(f'{d}/r.csv').read_text().split(), ['network,set,epe,teacher','a,,1.5,t','b,s,,'])
        test_fail(lambda: write_rows([dict(ms=3.)], f'{d}/s.csv'), contains='unknown columns ms')
        test_eq(os.listdir(d), ['r.csv'])
        write_csv([dict(a=1, b='x')], f'{d}/plain.csv')
        test_eq(Path(f'{d}/plain.csv').read_text().split(), ['a,b','1,x'])

def test_a_run_is_kept_with_its_recipe():
    with tempfile.TemporaryDirectory() as d:
        run = run_folder(f'{d}/a/b')
        rows = save_run(run, 'dtp', [dict(network='x', epe=2.)], preset='quick', seed=3, own=['preset'])
        kept = read_run(run/'metrics.json')
        test_eq(kept['rows'], rows)
        test_eq(
            {k:rows[0][k] for k in ('exp','seed','preset','epe')},
            dict(exp='dtp', seed=3, preset='quick', epe=2.))
        test_eq([kept['seed'],kept['environment']['torch']], [3,version('torch')])
        test_fail(lambda: save_run(run, 'dtp', [dict(lat=1)]), contains='unknown columns lat')
        test_eq(json.loads((run/'metrics.json').read_text()), kept)
        put_aside(run/'nothing there')
        again = run_folder(run, restart=True)
        test_eq(
            [[p.name for p in again.iterdir()],[p.name for p in run.with_name('b.old1').iterdir()]],
            [[LOCK] if os.name=='posix' else [],['metrics.json']])
        test_eq(read_run(run.with_name('b.old1')/'metrics.json'), kept)
        # nothing to put aside
        test_eq(run_folder(again, restart=True)==again and not run.with_name('b.old2').exists(), True)
        for damaged in ('{"rows": 3}', '{"rows": [1]}', '{}', '{"rows"'):
            (again/'bad.json').write_text(damaged)
            test_fail(lambda: read_run(again/'bad.json'), exc=ValueError, contains='bad.json is damaged')

@pytest.mark.slow
def test_a_run_is_held_until_its_process_ends():
    import sys
    with tempfile.TemporaryDirectory() as d:
        code = 'import sys; from stereo_kd.core import *; print(run_folder(sys.argv[1]), flush=True); input()'
        other = subprocess.Popen([sys.executable, '-c', code, f'{d}/a'], stdin=-1, stdout=-1, text=True)
        with other:
            other.stdout.readline()
            if os.name=='posix': test_fail(lambda: take(f'{d}/a', wait=0), exc=FolderInUse, contains=f'process {other.pid}')
            other.communicate('\n')
        test_eq(list(Path(d, 'a').iterdir()), []) # the lock is gone
        run_folder(f'{d}/a', shared=True)

def test_modes_come_back():
    net = nn.Sequential(nn.BatchNorm2d(3), nn.Sequential(nn.Dropout())).train()
    net[0].eval()
    def modes(): return [m.training for m in net.modules()]
    before = modes()
    with evaluating(net) as inside:
        assert inside is net and not any(modes()) and torch.is_inference_mode_enabled()
    test_eq(modes(), before)
    test_eq(before, [True,False,True,True])
    def broken():
        with evaluating(net): raise ValueError('inside')
    test_fail(broken, contains='inside')
    test_eq(modes(), before)
    assert not torch.is_inference_mode_enabled()
    with keep_modes(net): net.eval()
    test_eq(modes(), before)

def test_threads_share_a_borrowed_network():
    import threading
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(.5)).train()
    net[2].eval()
    x,statistics = torch.randn(2,3,8,8),net[1].running_mean.clone()
    with evaluating(net): want = net(x)
    inside,leave,got = threading.Event(),threading.Event(),[]
    def slow():
        with evaluating(net):
            inside.set()
            leave.wait(9)
            got.append(net(x))
    t = threading.Thread(target=slow)
    t.start()
    inside.wait(9)
    with evaluating(net): got.append(net(x)) # comes later, leaves first
    leave.set()
    t.join()
    for y in got: test_eq(y, want)
    test_eq(net[1].running_mean, statistics)
    test_eq([m.training for m in net.modules()], [True,True,True,False])
    assert not evaluating.__wrapped__.__globals__['_borrowed']

def test_fingerprints_tell_networks_apart():
    torch.manual_seed(0)
    a,b = nn.Conv2d(2, 2, 1),nn.Conv2d(2, 2, 1)
    assert fingerprint(a)!=fingerprint(b) and fingerprint(a)!=fingerprint(nn.Sequential(a)) # also the names count
    b.load_state_dict(a.state_dict())
    test_eq(fingerprint(b), fingerprint(a))
    c = nn.Conv2d(3, 4, 3)
    test_eq(fingerprint(deepcopy(c).to(memory_format=torch.channels_last)), fingerprint(c))
    before = fingerprint(b)
    b.weight.data[0,0] *= 1+1e-6
    assert fingerprint(b)!=before

def test_checksums_change_with_anything():
    x = torch.arange(6.).reshape(2,3)
    same = checksum('a', dict(m=x, n=torch.tensor(1)))
    test_eq(checksum('a', dict(n=torch.tensor(1), m=x.clone())), same) # the order is no matter
    other = [checksum('b', dict(m=x, n=torch.tensor(1))), checksum('a', dict(m=x)), checksum('a', dict(m=x, o=torch.tensor(1)))]
    other += [checksum('a', dict(m=y, n=torch.tensor(1))) for y in (x.reshape(3,2), x.view(torch.int32), x.T, x+1)]
    test_eq(len({same, *other}), 1+len(other))
    test_eq(checksum('a', dict(m=x.T)), checksum('a', dict(m=x.T.contiguous())))
