# Generated from nbs/58_train.cache.ipynb; edit the notebook, not this file
import json, torch
from fastcore.basics import patch
from pathlib import Path
from safetensors import SafetensorError, safe_open
from torch import nn, Tensor
from stereo_kd.core import OtherRequest, checksum, claim, fingerprint, save_tensors
from stereo_kd.models.base import STAGES, StereoOutput, get_map
import tempfile
from statistics import median
from time import perf_counter
from fastcore.test import *
from stereo_kd.models.zoo import create_model
from safetensors.torch import save_file
from stereo_kd.train.cache import *

def test_asks_once():
    torch.manual_seed(0)
    teacher = create_model('tsnnet_naive', max_disp=48).eval()
    teacher.tau = .5
    x,y = torch.randn(2,4,3,32,64)
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        names = ('aggregation','cost_volume','coarse')
        c = CachedTeacher(teacher, d, 'noise', names).eval()
        want = teacher(x, y, upto='aggregation')
        a,b = c(x[:3], y[:3], indices=[7,1,2003]),c(x, y, indices=[7,1,2003,5])
        test_eq(c.asked, 4)
        for n in names:
            test_close(get_map(b, n), get_map(want, n), eps=1e-3*get_map(want, n).abs().max().item())
            test_eq(get_map(a, n), get_map(b, n)[:3])
        test_eq(
            CachedTeacher(teacher, d, 'noise', names)(
                x.flip(0), y.flip(0), indices=[5,2003,1,7]).extras['coarse'],
            b.extras['coarse'].flip(0))
        with torch.autocast('cpu', torch.bfloat16):
            test_eq(c(x, y, indices=[7,1,2003,5]).extras['coarse'], b.extras['coarse'])
        next(Path(d).glob('*/5.safetensors')).write_bytes(b'cut')
        c(x, y, indices=[7,1,2003,5])
        test_eq(c.asked, 5) # a damaged file is made again
        test_eq(b.extras['tau'], want.extras['tau']) # read at the temperature of the one that was asked
        test_fail(lambda: c(x, y), exc=ValueError, contains='must be told the indices')
        test_fail(
            lambda: CachedTeacher(teacher, d, 'other noise', names), exc=OtherRequest,
            contains='data was noise, is now other noise')
        test_fail(
            lambda: CachedTeacher(create_model('tsnnet_naive', max_disp=48), d, 'noise', names),
            exc=OtherRequest, contains='teacher was')
    n = create_model('dtpnet', max_disp=48)
    f = fingerprint(n)
    test_eq(f, fingerprint(n))
    next(n.parameters()).data[0] += 1
    test_ne(f, fingerprint(n))

def test_numbers_too_large_for_half_precision_are_refused():
    loud = create_model('tsnnet_naive', max_disp=48).eval()
    with torch.no_grad():
        for w in loud.parameters(): w *= 30
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        c = CachedTeacher(loud, d, 'noise').eval()
        test_fail(
            lambda: c(*torch.randn(2,1,3,32,64), indices=[0]), exc=ValueError,
            contains='aggregation of the teacher reaches')
        test_eq([*Path(d).glob('*/*.safetensors')], [])

def test_all_outputs_and_disparities_are_kept():
    torch.manual_seed(0)
    teacher = create_model('tsnnet_teacher', max_disp=48, blocks=(1,1,1,1), hourglasses=1)
    x,y = torch.randn(2,1,3,32,64)
    with torch.no_grad():
        for _ in range(20): teacher(x, y) # statistics of BatchNorm, so that no map is tiny
    teacher.eval()
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        names = ('aggregation.0','features.left.1','disparity')
        out = CachedTeacher(teacher, d, 'noise', names)(x, y, indices=[3])
        want = teacher(x, y, all_outputs=True)
        assert not torch.equal(want.aggregation[0], want.aggregation[-1])
        for n in names:
            test_close(get_map(out, n), get_map(want, n), eps=1e-3*get_map(want, n).abs().max().item())
        test_eq(get_map(out, 'disparity'), want.disparity[-1]) # not halved

def test_answers_that_are_not_of_this_pair_are_made_again():
    import os, shutil
    from safetensors.torch import load_file
    torch.manual_seed(0)
    teacher = create_model('dtpnet_lite', max_disp=48, stem=4, width=8, deep=8, match=4, mix=8, inner=8).eval()
    x,y = torch.randn(2,2,3,32,64)
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        c = CachedTeacher(teacher, d, 'noise').eval()
        want = c(x, y, indices=[1,2]).extras['aggregation']
        one,two = c._file(1),c._file(2)
        whole,maps = one.read_bytes(),load_file(one)
        with safe_open(one, 'pt') as f: said = f.metadata()
        def again(change):
            one.unlink(missing_ok=True)
            change()
            before = c.asked
            got = c(x, y, indices=[1,2]).extras['aggregation']
            test_eq([got, c.asked-before], [want,1])
            test_eq(one.read_bytes(), whole)
        turned = {k:v.reshape(v.shape[0], v.shape[2], v.shape[1]) for k,v in maps.items()} # the same bytes
        again(lambda: save_file(turned, one, metadata=said))
        again(lambda: save_file({k:v[:,1:].contiguous() for k,v in maps.items()}, one, metadata=said))
        again(lambda: save_file({k:v.float() for k,v in maps.items()}, one, metadata=said))
        again(lambda: save_file({}, one, metadata=said))
        again(lambda: save_file(maps, one))
        again(lambda: shutil.copy(two, one)) # of another pair
        for at in (3, 60, len(whole)-1): again(lambda: one.write_bytes(whole[:at]+bytes([whole[at]^1])+whole[at+1:]))
        one.unlink()
        os.mkfifo(one) # nobody writes to it
        test_fail(lambda: c(x, y, indices=[1,2]), exc=OSError, contains='1.safetensors: it is a device or a pipe')
        one.unlink()
        wide = c(x[...,:48], y[...,:48], indices=[2,2]).extras['aggregation'] # pair 2 at another size
        test_eq([tuple(wide.shape[-2:]), c(x, y, indices=[1,2]).extras['aggregation']], [(8,12),want])

def test_the_answer_is_kept_if_nothing_is_named():
    torch.manual_seed(0)
    teacher = create_model('madis', size='tiny', max_disp=48)
    x,y = torch.randn(2,2,3,32,64)
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        cached = CachedTeacher(teacher, d, 'noise')
        got,want = cached(x, y, indices=[3,8]),teacher(x, y).extras['laplace']
        test_close(got.extras['laplace'], want, eps=1e-3*want.max().item())
        test_eq(cached(x, y, indices=[3,8]).extras['laplace'], got.extras['laplace'])
        test_eq(cached.asked, 2)
