# Generated from nbs/39_models.zoo.ipynb; edit the notebook, not this file
import json, re, torch
from contextlib import contextmanager
from importlib.metadata import version
from inspect import signature
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from safetensors import SafetensorError, safe_open
from torch import nn, Tensor
from torch.overrides import TorchFunctionMode
from stereo_kd.core import atomic_write, check_file, check_output, environment, fingerprint, parse_json, pick, save_tensors
from stereo_kd.models.acvnet import ACVNet
from stereo_kd.models.dsnet import DSNet
from stereo_kd.models.dtpnet import DTPnet
from stereo_kd.models.dtpnet_lite import DTPnetLite
from stereo_kd.models.gwcnet import gwcnet_g, gwcnet_gc
from stereo_kd.models.hub import hub_file, hub_upload
from stereo_kd.models.import_weights import import_weights, published_name
from stereo_kd.models.madis import MaDis
from stereo_kd.models.psmnet import PSMNet
from stereo_kd.models.mobilestereonet import MobileStereoNet2D
from stereo_kd.models.regression import check_reading
from stereo_kd.models.tsnnet import tsnnet_naive, tsnnet_student, tsnnet_teacher
from stereo_kd.models.widths import apply_widths, widths
import tempfile, time, torch
from fastcore.test import *
from safetensors.torch import save_file
from stereo_kd.models.zoo import *

def test_names_and_arguments():
    test_eq(create_model('dtpnet', max_disp=96).max_disp, 96)
    test_eq(create_model('dtpnet', cost_volume='c2d').form, 'c2d')
    test_fail(lambda: create_model('raft'), contains="unknown model 'raft'; known: acvnet, dsnet, dtpnet")

def test_a_fresh_network_of_pruned_widths():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    thin = apply_widths(net, {'score': [20,48,1], 'hourglass.up1.0': [48,8,1]})
    new = create_like(thin)
    test_eq([widths(new),new.spec,new.training], [widths(thin),net.spec,True])
    test_eq(torch.equal(new.extract.stem[0].body[0][0].weight, net.extract.stem[0].body[0][0].weight), False)
    part = new.score.weight[:,-12:,0,0].detach() # scores of the volume: the interpolation from 12 bins to 48, as in a new network
    test_eq(part, create_model('dtpnet', max_disp=48).score.weight[:,-12:,0,0].detach())
    lite = create_like(create_model('dtpnet_lite', max_disp=48))
    test_eq(lite.score.weight[:,-12:,0,0].detach(), torch.eye(12))
    for name in ('dtpnet','dtpnet_lite'): # a learned upsampling starts as the bilinear one
        learned = apply_widths(create_model(name, max_disp=48, upsample='convex'), {'upsample.out': [16,144,1]})
        test_eq(create_like(learned).upsample.out.weight.detach(), torch.zeros(144,16,1,1))

def test_range_of_volumes_is_a_length():
    with tempfile.TemporaryDirectory() as d:
        torch.manual_seed(0)
        net = create_model('gwcnet_g', max_disp=48).eval()
        save_model(net, f'{d}/a.safetensors')
        wide = load_model(f'{d}/a.safetensors', max_disp=96)
        test_eq([wide.max_disp,wide.spec['args'],fingerprint(wide)], [96,dict(max_disp=96),fingerprint(net)])
        want = create_model('gwcnet_g', max_disp=96).eval()
        want.load_state_dict(net.state_dict())
        with torch.no_grad():
            x,y = torch.randn(2,1,3,32,112)
            test_eq(wide(x, y).disparity[-1], want(x, y).disparity[-1])
    test_eq(load_model('dtpnet_lite', max_disp=192).max_disp, 192)
    for name in ('dtpnet','dtpnet_lite','dtpnet_pruned','tsnnet_student'):
        test_fail(lambda: load_model(name, max_disp=384), exc=ValueError, contains=f"max_disp of {name} cannot be changed to 384: disparities are channels")
    with tempfile.TemporaryDirectory() as d:
        save_model(create_model('madis', size='tiny', max_disp=48), f'{d}/m.safetensors')
        test_fail(lambda: load_model(f'{d}/m.safetensors', max_disp=96), exc=ValueError, contains='its answers are measured by it')
    test_fail(lambda: load_model('dtpnet', max_disp=100), exc=ValueError, contains='multiple of 48')

def test_either_reading_of_the_same_weights():
    from stereo_kd.models.regression import disparity_tail
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,32,80)
    for name in ('dtpnet','dtpnet_lite'):
        net = create_model(name, max_disp=48, reading='mode', upsample='convex' if name=='dtpnet' else 'bilinear').eval()
        with torch.no_grad(): out = net(x, y)
        want = disparity_tail(
            out.aggregation[-1], 48, (32,80), net.tau, weights=out.extras.get('upsample_weights'), reading='mode')
        test_eq(out.disparity[-1], want)
        test_eq(create_like(net).reading, 'mode')
        with tempfile.TemporaryDirectory() as d:
            save_model(net, f'{d}/a.safetensors')
            back,mean = load_model(f'{d}/a.safetensors'),load_model(f'{d}/a.safetensors', reading='mean')
        with torch.no_grad():
            test_eq(back(x, y).disparity[-1], want)
            assert (mean(x, y).disparity[-1]-want).abs().max()>.1
        test_eq([back.card['args']['reading'],mean.spec['args']['reading'],fingerprint(mean)], ['mode','mean',fingerprint(net)])
        test_fail(lambda: create_model(name, reading='max'), exc=ValueError, contains="unknown reading 'max'; known: mean, mode")
    test_eq([load_model('dtpnet_lite_pruned', reading='mode').reading,load_model('dtpnet').reading], ['mode','mean'])
    test_fail(lambda: load_model('dtpnet', reading='max'), exc=ValueError, contains="unknown reading 'max'; known: mean, mode")
    test_fail(
        lambda: load_model('tsnnet_student', reading='mode'), exc=ValueError,
        contains='reading of tsnnet_student cannot be chosen: a tsnnet_student has one only')

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
        save_tensors(dict(a=torch.ones(1)), f'{d}/other.safetensors')
        test_fail(lambda: load_model(f'{d}/other.safetensors'), contains='other.safetensors was not written by')
        net.spec = dict(name='psmnet', args={})
        save_model(net, f'{d}/lies.safetensors')
        test_fail(lambda: load_model(f'{d}/lies.safetensors'), contains='lies.safetensors does not describe a psmnet')
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

def test_cards_that_lie_are_refused():
    import resource
    from copy import deepcopy
    from safetensors.torch import load_file
    torch.manual_seed(0)
    tiny = dict(max_disp=48, stem=8, width=16)
    net = create_model('dtpnet', **tiny)
    with tempfile.TemporaryDirectory() as d:
        f,g = Path(d)/'a.safetensors',Path(d)/'b.safetensors'
        save_model(net, f)
        whole,tensors = read_card(f),load_file(f)
        def says(words, tensors=tensors, text=None, **fields):
            info = {k:v for k,v in (whole|fields).items() if v!='none'}
            save_file(tensors, g, metadata=dict(stereo_kd=json.dumps(info) if text is None else text))
            start = time.process_time()
            test_fail(lambda: load_model(g), exc=ValueError, contains=words)
            assert time.process_time()-start<5, words
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for key in ('name','args','widths','version','meta'):
            says(f'card of {g} is damaged: {key} must be a', **{key:'none'})
            says(f'b.safetensors is damaged: {key} must be a', **{key:[1]})
        says('b.safetensors is damaged: weights must be a str, got 3', weights=3)
        for text in ('{"name": "dtp', '['*100_000, '7', ''): says('b.safetensors is damaged', text=text)
        says("b.safetensors holds a raft, which is no network of this library; register_model('raft', ...) first", name='raft')
        for args in (dict(stem=16_000), dict(width=10**12), dict(max_disp=48*10**9), dict(hidden=-1), dict(stem=[8]),
                     dict(max_disp='48'), dict(depth=3), dict(name='psmnet'), dict(match=None), dict(stem=float('nan')), dict(stem=[[8]]), dict(stem=dict(a=8))):
            says('card of', args=tiny|args)
            says('b.safetensors does not describe a ', args=tiny|args)
        for blocks in ([10**9]*4, [10**6,1,1,1], []): says('b.safetensors', name='tsnnet_teacher', args=dict(blocks=blocks))
        says('describe a tsnnet_teacher: hourglasses cannot be 100000000', name='tsnnet_teacher', args=dict(hourglasses=10**8))
        layer = 'extract.stem.0.body.0.0'
        for numbers in ([3,10**9,1], [10**5,10**5,1], [3], 'x', [3,16,1.5]):
            says('b.safetensors does not describe a ', widths=whole['widths']|{layer:numbers})
        says('b.safetensors do not fit the dtpnet they claim to be: match.0.weight is (32', args=tiny|dict(match=16), widths={})
        says('the file lacks score.weight', {k:v for k,v in tensors.items() if k!='score.weight'})
        says('the network has no more', tensors|dict(more=torch.zeros(3)))
        says('b.safetensors is damaged', {k:v.half() for k,v in tensors.items()})
        says('describe a dtpnet: it would be far larger', args=tiny|dict(stem=16_000), widths={})
        says('score.weight is (', tensors|{'score.weight':tensors['score.weight'].flatten()})
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before)/1024
        assert grown<400, grown

def test_every_network_keeps_within_the_budget():
    from stereo_kd.models.zoo import _Budget, _elements
    x = torch.ones(2)
    for make in (lambda: torch.empty(2, 3), lambda: torch.zeros((2,3)), lambda: torch.ones(size=(2,3)), lambda: torch.arange(6),
                 lambda: torch.full((2,3), 0.), lambda: x.new_zeros(2, 3), lambda: x.new_full((2,3), 9), lambda: x.new_empty([6])):
        with _Budget({}) as left: make()
        test_eq(_Budget({}).elements-left.elements, 6)
    test_eq([_elements(torch.eye, (3,), {}), _elements(torch.cat, ([x,x],), {})], [9,0])
    for name in list_models():
        net = create_model(name)
        shapes = {k:tuple(v.shape) for k,v in net.state_dict().items()}
        with _Budget(shapes) as left: create_model(name)
        whole = _Budget(shapes)
        assert left.calls>whole.calls/2 and left.elements>whole.elements/2, (name, vars(left), vars(whole))

def test_full_disk_while_saving():
    import errno
    from unittest import mock
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        f = Path(d)/'a.safetensors'
        save_model(net, f)
        before = f.read_bytes()
        write = Path.write_bytes
        def full(self, data):
            write(self, data[:len(data)//2])
            raise OSError(errno.ENOSPC, 'No space left on device')
        with mock.patch.object(Path, 'write_bytes', full):
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

def test_own_networks_have_names():
    from stereo_kd.models.base import StereoNet
    from stereo_kd.models.cost_volume import correlation_volume
    class Mine(StereoNet):
        def __init__(self, max_disp=48, width=4):
            super().__init__(max_disp)
            self.conv,self.score = nn.Conv2d(3, width, 4, 4),nn.Conv2d(max_disp//4, max_disp//4, 1)
        def bins(self): return [self.score]
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], self.max_disp//4)
        def aggregation(self, volume, left, right, extras, all_outputs): return [self.score(volume)]
    assert register_model('mine', Mine) is Mine and 'mine' in list_models()
    try:
        torch.manual_seed(0)
        net = create_model('mine', width=6)
        with tempfile.TemporaryDirectory() as d:
            save_model(net, f'{d}/mine.safetensors')
            again = load_model(f'{d}/mine.safetensors')
            test_eq([type(again),again.card['args']], [Mine,dict(width=6)])
            test_eq(fingerprint(again), fingerprint(net))
            del models['mine']
            test_fail(lambda: load_model(f'{d}/mine.safetensors'), exc=ValueError, contains="register_model('mine'")
            register_model('mine', lambda **kw: Mine(**kw)) # a notebook cell that is run again
            test_eq(type(load_model(f'{d}/mine.safetensors')), Mine)
        test_fail(lambda: register_model('dtpnet', Mine), exc=ValueError, contains='dtpnet is a network of this library')
        test_fail(lambda: register_model('My Net', Mine), exc=ValueError, contains="got 'My Net'")
        test_fail(lambda: register_model('mine', 'Mine'), exc=ValueError, contains='must be a class or a function')
        test_fail(lambda: save_model(Mine(), 'x.safetensors'), exc=ValueError, contains='register_model')
    finally: models.pop('mine', None)

def test_a_network_goes_to_a_hub_and_comes_back():
    from stereo_kd.testing import local_hub
    from unittest.mock import patch
    torch.manual_seed(0)
    net,repos = create_model('dtpnet', max_disp=48, stem=8, width=16),{}
    with local_hub(repos) as address,tempfile.TemporaryDirectory() as d:
        how = dict(endpoint=address, cache_dir=d)
        push_to_hub(net, 'me/net', 'A test.', 'Licence: none.', token='hf_test', endpoint=address, epe=1.5)
        test_eq(sorted(repos['me/net']), ['README.md','model.safetensors'])
        card = repos['me/net']['README.md'].decode()
        for words in ('library_name: stereo_kd', '# net\n\nA test.', '| epe | 1.5 |', f'| weights | {fingerprint(net)} |', 'Licence: none.'):
            assert words in card, words
        assert LICENCE not in card
        again = from_hub('me/net', name='dtpnet', **how)
        for a,b in zip(net.state_dict().values(), again.state_dict().values(), strict=True): test_eq(a, b)
        test_eq([again.training,again.card['meta']['epe']], [False,1.5])
        push_to_hub(again, 'me/copy', 'Another.', 'Licence: none.', token='hf_test', endpoint=address)
        test_eq(from_hub('me/copy', **how).card['meta'], dict(note='Another.', epe=1.5)) # what it scored comes along
        with patch('huggingface_hub.constants.ENDPOINT', address),patch('huggingface_hub.constants.HF_HUB_CACHE', d):
            test_eq(read_card('hub:me/net')['name'], 'dtpnet')
            test_eq(fingerprint(load_model('hub:me/net@main')), fingerprint(net))
        test_fail(lambda: from_hub('me/net', name='dsnet', **how), exc=ValueError, contains='holds a dtpnet, not a dsnet')
        repos['me/broken'] = {'model.safetensors':repos['me/net']['model.safetensors'][:-4]}
        test_fail(lambda: from_hub('me/broken', **how), exc=ValueError, contains='damaged')

def test_published_weights_become_a_checkpoint():
    from stereo_kd.models.import_weights import published
    make,side_by_side,_ = published['gwcnet_g']
    net = make()
    back = {b:a for a,b in side_by_side(net).items()}
    with tempfile.TemporaryDirectory() as d:
        theirs = {f"{back[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}":v for k,v in net.state_dict().items()}
        torch.save(theirs, f'{d}/a.ckpt')
        import_file(f'{d}/a.ckpt', f'{d}/b.safetensors', 'gwcnet_g')
        test_eq(fingerprint(load_model(f'{d}/b.safetensors')), fingerprint(net))
        test_fail(lambda: load_model(f'{d}/a.ckpt'), exc=ValueError, contains='a file of torch.save is read by stereo_import')
        import_file(f'{d}/a.ckpt', f'{d}/b.safetensors')
        test_eq(fingerprint(load_model(f'{d}/b.safetensors')), fingerprint(net))
        for file,out,network,say in (
            ('a.ckpt', 'e.safetensors', 'psmnet', 'is no published psmnet: it lacks feature_extraction.branch1'),
            ('c.ckpt', 'e.safetensors', 'psmnet', 'c.ckpt does not exist'),
            ('a.ckpt', 'e.safetensors', 'dtpnet', "published weights 'dtpnet'; known: acvnet"),
            ('a.ckpt', 'e.pth', 'gwcnet_g', 'must end in .safetensors'), ('a.ckpt', 'a.ckpt', 'gwcnet_g', 'is the input')):
            test_fail(lambda: import_file(f'{d}/{file}', f'{d}/{out}', network), exc=(ValueError,OSError), contains=say)
        test_eq(sorted(p.name for p in Path(d).iterdir()), ['a.ckpt','b.safetensors'])
