# Generated from nbs/62_train.state.ipynb; edit the notebook, not this file
import hashlib, json, re, warnings
from functools import partial
from pathlib import Path
from torch import Tensor
from safetensors import SafetensorError, safe_open
from stereo_kd.core import check_file, checksum, parse_json, save_tensors
import os, tempfile, torch
from fastcore.test import *
from safetensors.torch import save_file
from stereo_kd.train.state import *

def test_packing_is_exact():
    state = dict(
        epoch=3, loss=.1+.2, opt=[dict(step=7, avg=torch.randn(3)),{}], rows=[dict(nan=float('nan'))],
        none=None)
    tree,tensors = pack(state)
    back = unpack(json.loads(json.dumps(tree)), tensors)
    assert back['rows'][0].pop('nan')!=0 and state['rows'][0].pop('nan')!=0
    test_eq(back.pop('opt')[0]['avg'], state['opt'][0]['avg'])
    test_eq({k:back[k] for k in ('epoch','loss','none')}, dict(epoch=3, loss=.1+.2, none=None))

def test_a_damaged_state_is_not_used():
    from contextlib import contextmanager
    @contextmanager
    def warned(*words):
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter('always')
            yield
        for w in words: assert w in str(said[-1].message), str(said[-1].message)
    with tempfile.TemporaryDirectory() as d:
        test_eq(read_state(d), None)
        for n in (1,2,3): file = write_state(d, n, dict(epoch=n, w=torch.full((9,), float(n)), lr=.5))
        test_eq(sorted(p.name for p in Path(d).iterdir()), ['state-2.safetensors','state-3.safetensors'])
        whole = file.read_bytes()
        test_eq(read_state(d)['epoch'], 3)
        # a weight, a number, the checksum itself
        for at in (len(whole)-3, whole.index(b'"lr'), whole.index(b'checksum')+15):
            flipped = bytearray(whole)
            flipped[at] ^= 1
            file.write_bytes(flipped)
            with warned('state-3.safetensors is damaged', 'going on from state-2.safetensors'):
                state = read_state(d)
            test_eq([state['epoch'],state['w'].tolist()], [2,[2.]*9])
        for cut in (0, 7, 100, len(whole)-5):
            file.write_bytes(whole[:cut])
            with warned('state-3.safetensors is damaged'): test_eq(read_state(d)['epoch'], 2)
        file.unlink()
        os.mkfifo(file) # nobody writes to it
        with warned('state-3.safetensors is damaged', 'is a device or a pipe'): test_eq(read_state(d)['epoch'], 2)
        save_file({}, file.with_name('empty.safetensors'), metadata=dict(state='[]', checksum=checksum('[]', {})))
        os.replace(file.with_name('empty.safetensors'), file)
        with warned('it holds a list, not a dict'): test_eq(read_state(d)['epoch'], 2)
        (Path(d)/'state-2.safetensors').write_bytes(b'')
        (Path(d)/'state-best.safetensors').write_bytes(b'') # not one of ours
        test_fail(lambda: read_state(d), exc=ValueError, contains='no whole state is left')
        drop_states(d)
        test_eq([p.name for p in Path(d).iterdir()], ['state-best.safetensors'])

def test_descriptions_differ_where_data_do():
    from stereo_kd.data.loaders import Mixed, StereoDataLoaders
    from stereo_kd.data.synthetic import SyntheticPairs
    from stereo_kd.data.transforms import Augmented, augment
    make = lambda **kw: StereoDataLoaders.from_synthetic(
        **dict(n_train=4, n_valid=2, size=(32,64), bs=2, device='cpu')|kw)
    one = describe_loaders(make())
    test_eq(one, json.loads(json.dumps(describe_loaders(make()))))
    for kw in (dict(seed=1), dict(size=(32,96)), dict(bs=1), dict(without=['flat']), dict(n_train=6)):
        assert describe_loaders(make(**kw))!=one, kw
    test_eq(describe_loaders(make(n_valid=1)), one)
    a,b = (Augmented(SyntheticPairs(4, (48,96)), augment('standard', size)) for size in ((32,64),(32,48)))
    assert describe(a)!=describe(b) and describe(Mixed([a,a], [1,2]))!=describe(Mixed([a,a], [2,1]))
    json.dumps(describe(Mixed([a,b], [1,2])))
