# Generated from nbs/39_models.zoo.ipynb; edit the notebook, not this file
import json
from importlib.metadata import version
from pathlib import Path
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from stereo_kd.core import atomic_write, environment, fingerprint, pick
from stereo_kd.models.dtpnet import DTPnet
from stereo_kd.models.dtpnet_lite import DTPnetLite
from stereo_kd.models.madis import MaDis
from stereo_kd.models.psmnet import PSMNet
from stereo_kd.models.mobilestereonet import MobileStereoNet2D
from stereo_kd.models.tsnnet import tsnnet_naive, tsnnet_student, tsnnet_teacher
from stereo_kd.models.widths import apply_widths, widths
import tempfile, torch
from fastcore.test import *
from stereo_kd.models.zoo import *

def test_names_and_arguments():
    test_eq(create_model('dtpnet', max_disp=96).max_disp, 96)
    assert create_model('dtpnet', cost_volume='c2d').c2d
    test_fail(lambda: create_model('raft'), contains="unknown model 'raft'; known: dtpnet")

def test_roundtrip_is_exact():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    x,y = torch.randn(2,1,3,32,64)
    run = lambda n: n(x, y).disparity[-1].detach()
    with tempfile.TemporaryDirectory() as d:
        save_model(net, f'{d}/a.safetensors', epe=1.5)
        back = load_model(f'{d}/a.safetensors', 'dtpnet')
        test_eq(run(back), run(net))
        test_eq([back.card['meta'],back.card['args']], [dict(epe=1.5),dict(max_disp=48,stem=8,width=16)])
        assert not back.training
        save_model(back, f'{d}/b.safetensors')
        test_eq(run(load_model(f'{d}/b.safetensors')), run(net))
        test_eq(back.card['weights'], fingerprint(net))

def test_a_network_without_scores_too():
    torch.manual_seed(0)
    net = create_model('madis', size='tiny', max_disp=96).eval()
    x,y = torch.randn(2,1,3,37,60)
    with tempfile.TemporaryDirectory() as d, torch.no_grad():
        save_model(net, f'{d}/a.safetensors')
        back = load_model(f'{d}/a.safetensors', 'madis')
        test_eq([back.spec,back.max_disp], [dict(name='madis', args=dict(size='tiny', max_disp=96)),96])
        test_eq(back(x, y).disparity[-1], net(x, y).disparity[-1])

def test_bad_checkpoints_are_named():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.safetensors'
        save_model(net, f)
        test_fail(lambda: load_model(f, 'psmnet'), contains='a.safetensors holds a dtpnet, not a psmnet')
        data = f.read_bytes()
        for n in (0, 5, 300, len(data)//2):
            (Path(d)/'cut.safetensors').write_bytes(data[:n])
            test_fail(lambda: load_model(f'{d}/cut.safetensors'), contains='cut.safetensors is damaged')
        save_file(dict(a=torch.ones(1)), f'{d}/other.safetensors')
        test_fail(lambda: load_model(f'{d}/other.safetensors'), contains='other.safetensors was not written by')
        net.spec = dict(name='psmnet', args={})
        save_model(net, f'{d}/lies.safetensors')
        test_fail(lambda: load_model(f'{d}/lies.safetensors'), contains='lies.safetensors do not fit the psmnet')
        test_fail(lambda: load_model(f'{d}/none.safetensors'), exc=FileNotFoundError, contains='none.safetensors')
        flipped = bytearray(data)
        flipped[-1000] ^= 1 # one bit of one weight
        (Path(d)/'flipped.safetensors').write_bytes(flipped)
        test_fail(
            lambda: load_model(f'{d}/flipped.safetensors'), exc=ValueError,
            contains='flipped.safetensors is damaged')
    test_fail(lambda: save_model(nn.Linear(1,1), 'x'), contains='Linear that was not made by create_model')
    from unittest import mock
    with tempfile.TemporaryDirectory() as d:
        net = create_model('dtpnet', max_disp=48, stem=8, width=16)
        check_finite(net, 'whole')
        net.score.bias.data[3] = float('nan')
        test_fail(lambda: save_model(net, f'{d}/n.safetensors'), exc=ValueError, contains='score.bias and 0 more tensors are not finite')
        test_eq(list(Path(d).iterdir()), [])
        with mock.patch.dict(save_model.__globals__, check_finite=lambda *a: None): save_model(net, f'{d}/n.safetensors')
        test_fail(lambda: load_model(f'{d}/n.safetensors'), exc=ValueError, contains='n.safetensors: score.bias')

def test_full_disk_while_saving():
    import errno
    from unittest import mock
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.safetensors'
        save_model(net, f)
        before = f.read_bytes()
        def full(t, path, metadata):
            Path(path).write_bytes(b'half')
            raise OSError(errno.ENOSPC, 'No space left on device')
        with mock.patch.dict(save_model.__globals__, save_file=full):
            test_fail(lambda: save_model(net, f), contains='a.safetensors: No space left')
        test_eq(f.read_bytes(), before)
        test_eq(len(list(Path(d).iterdir())), 1)

def test_cards_say_what_the_file_says():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        save_model(net, f'{d}/run.safetensors', steps=7, history=[dict(epe=9.)])
        publish(f'{d}/run.safetensors', 'tiny', 'For tests.', folder=d, epe=1.23456)
        card = Path(f'{d}/tiny.md').read_text()
        assert all(
            t in card
            for t in (
                'For tests.', '| steps | 7 |', '| epe | 1.2346 |', "'max_disp': 48", 'environment: torch',
                f'| weights | {fingerprint(net)} |')) and 'history' not in card
        test_eq(read_card(f'{d}/tiny.safetensors')['meta']['epe'], 1.23456)

def test_cards_beside_the_files_are_theirs():
    for name in shipped():
        info = read_card(name)
        test_eq((WEIGHTS/f'{name}.md').read_text(), card_text(name, info, info['meta']['note']))
        test_eq(fingerprint(load_model(name)), info['weights'])
