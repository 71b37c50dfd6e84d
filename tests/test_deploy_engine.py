# Generated from nbs/86_deploy.engine.ipynb; edit the notebook, not this file
import os, shutil, tempfile, torch
from torch import nn
from fastcore.basics import patch
from stereo_kd.core import check_pair
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.deploy.export import CALIBRATION_PAIRS, AnswerMaps, _graph, fold_bn, installed_runtimes, onnxruntime_session, openvino_session, plain_disparity, quantize_onnx
from stereo_kd.models.base import StereoOutput
from stereo_kd.models.layers3d import weights_channels_last
import matplotlib.pyplot as plt
import numpy as np
from fastcore.test import *
from stereo_kd.core import fingerprint, format_table
from stereo_kd.evaluation.evaluate import evaluate, real_pairs
from stereo_kd.models.base import StereoNet, answer_maps, get_map
from stereo_kd.models.zoo import create_model, load_model
from stereo_kd.inference.predict import predict
import pytest
from stereo_kd.deploy.engine import *

def test_engines_agree():
    from stereo_kd.deploy.engine import ENGINES, sessions
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-.2,.2)
            m.running_var.uniform_(.5,2)
    with torch.no_grad():
        x,y = torch.randn(2,2,3,37,70)
        want,graphs = net(x, y).disparity[-1],None
        for name in [n for n in list_engines() if n!='compile']: # which has a test of its own
            e = Engine(net, name, like=graphs)
            if name in sessions: graphs = e # one export for all
            off = (e(x, y).disparity[-1]-want).abs()
            most = dict(fp32=1e-3, bf16=.5, int8=2.)[e.precision]
            assert (off.max() if e.precision=='fp32' else off.mean())<most, (name, off.max(), off.mean())
            test_eq(len(e(x, y, upto='aggregation').disparity), 0)
    test_fail(
        lambda: Engine(net, 'tensorrt'), exc=ValueError,
        contains="unknown engine 'tensorrt'; known: plain, eager")
    test_eq(predict(Engine(net), *np.random.default_rng(0).random((2,30,50,3), dtype=np.float32)).shape, (30,50))

def test_engines_give_the_answer_by_name():
    class Head(StereoNet):
        answer = 'coarse'
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(6, 1, 3, padding=1)
        def features(self, image, extras): return [nn.functional.avg_pool2d(image, 4)]
        def cost_volume(self, left, right, extras): return torch.cat([left[-1],right[-1]], 1)
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['coarse'] = 10*self.conv(volume)
            return []
        def disparity(self, coarse, size):
            return 4*nn.functional.interpolate(coarse, scale_factor=4)[:,0,:size[0],:size[1]]
    torch.manual_seed(0)
    net,(x,y) = Head().eval(),torch.randn(2,2,3,30,50)
    with torch.no_grad(): want = net(x, y)
    for name in [n for n in list_engines() if n!='compile' and Engine(net, n).precision=='fp32']:
        out = Engine(net, name)(x, y)
        test_close(get_map(out, 'coarse'), want.extras['coarse'], eps=1e-3)
        test_close(out.disparity[-1], want.disparity[-1], eps=1e-3)
        test_eq(out.aggregation, [])

def test_engines_upsample_as_learned():
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48, upsample='convex').eval()
    nn.init.normal_(net.upsample.out.weight, 0, .5) # no longer bilinear
    x,y = torch.randn(2,2,3,37,70)
    with torch.no_grad(): want = net(x, y)
    for name in set(list_engines())-{'compile'}:
        e = Engine(net, name)
        out,rough = e(x, y),e.precision!='fp32'
        for a,b in zip(answer_maps(e, out), answer_maps(net, want)): test_close(a, b, eps=3. if rough else 1e-3)
        off = (out.disparity[-1]-want.disparity[-1]).abs()
        assert off.mean()<2 if rough else off.max()<1e-3, (name, off.max())
        test_eq(list(out.extras), ['upsample_weights'])

def test_engines_read_the_dominant_mode():
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48, reading='mode').eval()
    x,y = torch.randn(2,1,3,37,70)
    with torch.no_grad():
        want = net(x, y).disparity[-1]
        net.reading = 'mean'
        assert (net(x, y).disparity[-1]-want).abs().max()>1
    net.reading = 'mode'
    for name in set(list_engines())-{'compile'}:
        e = Engine(net, name)
        off = (e(x, y).disparity[-1]-want).abs()
        assert off.median()<2 if e.precision!='fp32' else off.max()<1e-2, (name, off.max())

@pytest.mark.slow
def test_engines_run_a_transformer():
    torch.manual_seed(0)
    net,(x,y) = create_model('madis', size='tiny', max_disp=48).eval(),torch.randn(2,1,3,40,70)
    with torch.no_grad(): want = net(x, y)
    for name in {'folded','onnxruntime'} & set(list_engines()):
        out = Engine(net, name)(x, y)
        test_close(get_map(out, 'laplace'), want.extras['laplace'], eps=1e-3)
        test_close(out.disparity[-1], want.disparity[-1], eps=1e-3)

def test_engine_and_precision_are_two_columns():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    said = {n:(Engine(net, n).name, Engine(net, n).precision) for n in list_engines()}
    want = {n:(n,'fp32') for n in said}|dict(
        bf16=('folded','bf16'), openvino_bf16=('openvino','bf16'), onnxruntime_int8=('onnxruntime','int8'),
        openvino_int8=('openvino','int8'))
    test_eq(said, {n:want[n] for n in said})
    row = evaluate(Engine(net, 'bf16'), SyntheticPairs(1, (32,64), 0, 48), rounds=0)
    test_eq((row['engine'],row['precision'],row['weights']), ('folded','bf16',fingerprint(net)))

def test_a_graph_per_size():
    from unittest.mock import patch
    from stereo_kd.deploy import engine
    if 'openvino' in list_engines():
        torch.manual_seed(0)
        e = engine.Engine(create_model('dtpnet_lite', max_disp=48), 'openvino')
        for size in ((32,64),(32,64),(32,80)): e(*torch.randn(2,1,3,*size))
        test_eq([k[0] for k in e.run.made], [(32,64),(32,80)])
        with torch.inference_mode():
            test_eq(tuple(e(*torch.randn(2,1,3,48,64)).disparity[-1].shape), (1,48,64)) # as `predict` calls it
        with patch.object(engine, '_graph', None):
            other = engine.Engine(e.net, 'openvino_bf16', like=e) # exports nothing
            assert other(*torch.randn(2,1,3,32,64)).disparity
        x,y = torch.randn(2,1,3,32,64)
        a = e(x, y).aggregation[0]
        b = a.clone()
        e(y, x)
        test_eq(a, b) # an answer is not written over by the next

def test_int8_ranges_come_from_the_pairs():
    from unittest.mock import patch
    from stereo_kd.deploy import engine
    class Flat:
        def __len__(self): return 1
        def __getitem__(self, i): return torch.zeros(2,3,48,64)
    if 'openvino_int8' in list_engines():
        net = load_model('dtpnet_lite_pruned')
        pair = SyntheticPairs(1, (48,96), 3).batch([0])[:2]
        plain = engine.Engine(net, 'openvino')
        want = plain(*pair).disparity[-1]
        with patch.object(engine, '_graph', None): # exports nothing
            good,bad = (engine.Engine(net, 'openvino_int8', plain, p) for p in (SyntheticPairs(4, (48,96), 9),Flat()))
            off = [(e(*pair).disparity[-1]-want).abs().mean() for e in (good,bad)]
        assert 0<off[0]<off[1]/2, off
        with patch.object(engine, 'quantize_onnx', None): # ranges of the same pairs are measured once
            test_eq(engine.Engine(net, 'onnxruntime_int8', plain, good.run.pairs).run._int8((48,96)), good.run._int8((48,96)))
        with patch.object(engine, 'installed_runtimes', lambda: ['openvino']):
            test_eq(engine.missing('openvino'), '')
            assert engine.missing('openvino_int8').startswith('onnxruntime')

def test_engines_are_evaluated():
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48).eval()
    pairs = SyntheticPairs(1, (32,64), 0, 48)
    want = evaluate(net, pairs, rounds=0)
    for name in ('folded','openvino'):
        if name in list_engines():
            row = evaluate(Engine(net, name), pairs, rounds=0)
            test_close(row['epe'], want['epe'], eps=1e-3)
            test_eq([row['params_m'],row['macs_g']], [want['params_m'],want['macs_g']])

def test_what_an_engine_lacks():
    from unittest.mock import patch
    from stereo_kd.deploy import engine
    nothing = patch.object(engine, 'installed_runtimes', lambda: [])
    with nothing, patch.object(engine.shutil, 'which', lambda c: None):
        test_eq(engine.list_engines(), ['plain','eager','folded','bf16'])
        test_eq(engine.missing('compile'), 'a C++ compiler')
        test_eq(engine.missing('folded'), '')
        engine.check_engine('folded')
        test_fail(lambda: engine.check_engine('compile'), exc=ValueError, contains='needs a C++ compiler')
        test_fail(
            lambda: engine.Engine(create_model('dtpnet', max_disp=48), 'openvino'), exc=ValueError,
            contains="needs openvino: pip install")

@pytest.mark.slow
def test_compiled_agrees():
    class Two(StereoNet): # two layers: compiling a network takes a minute
        def __init__(self):
            super().__init__(48)
            self.body = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 12, 1))
        def features(self, image, extras): return [self.body(image)]
        def cost_volume(self, left, right, extras): return left[-1]*right[-1]
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    if 'compile' in list_engines():
        torch.manual_seed(0)
        net,(x,y) = Two().eval(),torch.randn(2,1,3,32,64)
        with torch.no_grad():
            test_close(Engine(net, 'compile')(x, y).disparity[-1], net(x, y).disparity[-1], eps=1e-3)
