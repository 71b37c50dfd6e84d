# Generated from nbs/85_deploy.export.ipynb; edit the notebook, not this file
import ctypes, io, os, tempfile, warnings
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
import numpy as np, torch
from torch import nn, Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.fusion import fuse_conv_bn_eval
from stereo_kd.cli import parse_size
from stereo_kd.core import IMAGENET_MEAN, IMAGENET_STD, atomic_write, check_file, check_output, denormalize, fingerprint, format_table, normalize, pick
from stereo_kd.data.folder import folder
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.base import StereoNet, answer_maps
from stereo_kd.models.regression import plain_tail
from stereo_kd.models.zoo import load_model
from stereo_kd.inference.image import to_image
import matplotlib.pyplot as plt
from fastcore.test import *
from unittest import mock
from stereo_kd.models.zoo import create_model
from stereo_kd.prune.loop import prune_step
from stereo_kd.models.regression import disparity_tail
import pytest
from stereo_kd.deploy.export import *

def test_folding_changes_nothing():
    torch.manual_seed(0)
    x,y = torch.randn(2,1,3,32,48)
    for name,kw in (
        ('dtpnet',dict(stem=8,width=16)), ('dtpnet',dict(cost_volume='c2d',stem=8,width=16)),
        ('dtpnet_lite',dict(upsample='convex')), ('tsnnet_naive',{}), ('tsnnet_student',{}), ('mobilestereonet2d',dict(blocks=(1,1,1,1))),
        ('psmnet',dict(width=8,blocks=(1,1,1,1)))):
        net = create_model(name, max_disp=48, **kw).double()
        for m in net.modules():
            if isinstance(m, _BatchNorm):
                m.running_mean.uniform_(-.2,.2)
                m.running_var.uniform_(.5,2)
                nn.init.uniform_(m.weight, .5, 1.5)
                nn.init.uniform_(m.bias, -.2, .2)
        folded = fold_bn(net)
        left = sum(isinstance(m, _BatchNorm) for m in folded.modules())
        with torch.no_grad():
            out = [n.eval()(x.double(), y.double(), upto='aggregation') for n in (net,folded)]
            out = zip(*(answer_maps(net, o) for o in out), strict=True)
        for a,b in out: test_close(a/a.abs().max(), b/a.abs().max(), eps=1e-10)
        assert left<=1, (name,left) # TSNnet: one after a sum, one before a convolution

def test_bf16_spares_the_first_layers():
    import tempfile
    from importlib.util import find_spec
    from stereo_kd.deploy.export import _cut, _graph, openvino_session
    if find_spec('openvino'):
        import openvino
        torch.manual_seed(0)
        walls = 2+.1*torch.randn(8, 1, 3, 48, 72)
        pairs = [[w[...,a:a+64].numpy().copy() for a in (0,8)] for w in walls]
        left,right = pairs[0] # bright, with a faint texture
        with tempfile.TemporaryDirectory() as d:
            _graph(load_model('dtpnet'), (48,64), 'none').save(d+'/a.onnx')
            core = openvino.Core()
            want, = openvino_session(d+'/a.onnx')(left, right)
            head,rest = _cut(core.read_model(d+'/a.onnx'))
            test_eq([tuple(o.shape) for o in head.outputs], [(1,9,24,32)]*2)
            test_eq(len(rest.inputs), 2)
            _graph(load_model('dtpnet_lite'), (32,64), 'none').save(d+'/b.onnx')
            test_eq(len(_cut(core.read_model(d+'/b.onnx'))), 1) # no layer at full resolution
            f32 = [core.compile_model(m, 'CPU', dict(INFERENCE_PRECISION_HINT='f32')) for m in (head,rest)]
            # the two parts are the graph
            test_close(f32[1](list(f32[0]([left,right]).values()))[0], want, eps=1e-3)
            if 'BF16' in core.get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
                rounded = core.compile_model(d+'/a.onnx', 'CPU', dict(INFERENCE_PRECISION_HINT='bf16'))
                whole = openvino_session(d+'/a.onnx')
                run = openvino_session(d+'/a.onnx', precision='bf16')
                scores, = run(left, right)
                copy = scores.copy()
                run(right, left)
                assert np.array_equal(scores, copy) # a later call leaves them alone
                rounded_rest = core.compile_model(rest, 'CPU', dict(INFERENCE_PRECISION_HINT='bf16'))
                # exact up to the cut
                test_close(scores, rounded_rest(list(f32[0]([left,right]).values()))[0], eps=1e-4)
                cases = (lambda p: run(*p)[0], lambda p: rounded(p)[0])
                off = [np.mean([np.abs(f(p)-whole(*p)[0]).mean() for p in pairs]) for f in cases]
                assert off[0]<.9*off[1], off # by a fifth; one wall alone says little

def test_signals_survive_openvino():
    import subprocess, sys
    script = '''
import faulthandler, signal, subprocess, tempfile, torch
from stereo_kd.deploy.export import _graph, openvino_session
from stereo_kd.models.zoo import create_model
faulthandler.enable(); signal.signal(signal.SIGCHLD, lambda *a: None) # as pytest and torch's loaders do
with tempfile.TemporaryDirectory() as d:
    _graph(create_model('dtpnet_lite', max_disp=48).eval(), (32,64), 'none').save(d+'/a.onnx')
    first = openvino_session(d+'/a.onnx'); second = openvino_session(d+'/a.onnx'); del first; del second
subprocess.run(['true']); print('alive')
'''
    if find_spec('openvino') and os.name=='posix':
        done = subprocess.run([sys.executable,'-c',script], capture_output=True, text=True)
        test_eq([done.returncode,done.stdout], [0,'alive\n'])

def test_what_is_no_graph_is_named():
    import tempfile
    from pathlib import Path
    from stereo_kd.deploy.export import _graph
    if 'onnxruntime' in installed_runtimes():
        with tempfile.TemporaryDirectory() as d:
            graph = Path(d)/'a.onnx'
            net = create_model('dtpnet_lite', max_disp=48).eval()
            _graph(net, (32,64), 'none').save(graph)
            pair,other = torch.zeros(2,1,3,32,64),torch.zeros(2,1,3,64,32)
            whole = graph.read_bytes()
            for name in installed_runtimes():
                graph.write_bytes(whole)
                parity(net, graph, pair, [name])
                said = lambda text, f=graph: test_fail(lambda: runtimes[name](f), exc=ValueError, contains=f'{f} {text}')
                test_fail(lambda: parity(net, graph, other, [name]), exc=ValueError, contains=f'a.onnx is no graph that {name} can run on these')
                for damaged in (whole[:1000],b'','\xb6'.encode('latin1')*99,whole.replace(b'Conv', b'Co2v')):
                    graph.write_bytes(damaged)
                    said(f'is no graph that {name} can run')
                said('is a folder, not a file', Path(d))
            test_fail(lambda: runtimes['onnxruntime'](f'{d}/b'), exc=OSError, contains='b does not exist')

def test_int8_is_near_and_a_bad_one_is_refused():
    from stereo_kd.testing import project_root
    kept = project_root()/'data/starts' # how bad a bad one is must not depend on what ships
    net = load_model(kept/'dtpnet_lite_pruned_flat.safetensors')
    pairs = SyntheticPairs(3, (60,120), 5)
    class Flat:
        def __len__(self): return 1
        def __getitem__(self, i): return torch.zeros(2,3,60,120)
    if len(installed_runtimes())==2:
        import onnx
        with tempfile.TemporaryDirectory() as d:
            rows = export_onnx(net, f'{d}/a.onnx', (64,112), 'none', int8=pairs)
            test_eq([r['precision'] for r in rows], ['fp32','fp32','int8','int8'])
            assert all(0<r['mean_px']<1 for r in rows[2:]), rows
            card,graph = graph_card(f'{d}/a.onnx'),onnx.load(f'{d}/a.onnx').graph
            test_eq((card['precision'],card['network'],card['size']), ('int8','dtpnet_lite','64x112'))
            maker = {o:n.op_type for n in graph.node for o in n.output}
            left_over = [maker[n.input[0]] for n in graph.node if n.op_type=='Relu'] # the range behind all others begins at 0
            test_eq(left_over, ['Conv','Conv']) # behind the float32 one of each picture, not rounded in between
            weights = [i for i in graph.initializer if i.data_type==onnx.TensorProto.INT8 and len(i.dims)==4]
            test_eq(len(weights), sum(isinstance(m, nn.Conv2d) for m in net.modules())-1) # the first one is float32
            first = [n for n in graph.node if n.op_type=='Conv' and n.input[0] in ('left','right')]
            test_eq([maker.get(n.input[1]) for n in first], [None,None]) # their weights are plain
            scales = {i.name:tuple(i.dims) for i in graph.initializer}
            sizes = [scales[n.input[1]] for n in graph.node if n.op_type=='DequantizeLinear' and n.input[0]==weights[0].name]
            test_eq(sizes, [(weights[0].dims[0],)]) # one scale a channel
            def largest(graph): return max(abs(onnx.numpy_helper.to_array(i).astype(int)).max() for i in graph.initializer
                                           if i.data_type==onnx.TensorProto.INT8 and len(i.dims)==4)
            test_eq(largest(graph), 64) # 7 bits
            test_eq(maker[next(n for n in graph.node if n.op_type=='MatMul').output[0]], 'MatMul') # the volume is float32
            export_onnx(net, f'{d}/f.onnx', (64,112), 'none', names=[])
            quantize_onnx(f'{d}/f.onnx', f'{d}/f.onnx', pairs, weight_bits=8)
            assert 64<largest(onnx.load(f'{d}/f.onnx').graph)<=128
            def rounded(net, size, tail, **how):
                export_onnx(net, f'{d}/f.onnx', size, tail, names=[])
                quantize_onnx(f'{d}/f.onnx', f'{d}/f.onnx', pairs, **how)
                weights = onnx.load(f'{d}/f.onnx').graph.initializer
                return sum(i.data_type==onnx.TensorProto.INT8 and len(i.dims)==4 for i in weights)
            test_eq(rounded(net, (64,112), 'none', exclude=()), len(weights)+1)
            test_eq(rounded(net, None, 'plain'), len(weights)) # behind the normalisation
            small = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
            test_eq(*[rounded(small, size, 'none') for size in ((64,112),None)]) # where sizes are computed from the picture's
            again = lambda **kw: quantize_onnx(f'{d}/a.onnx', f'{d}/b.onnx', **kw)
            test_fail(lambda: again(pairs=pairs, weight_bits=6), exc=ValueError, contains='weight_bits must be 7 or 8, got 6')
            test_fail(lambda: again(pairs=pairs), exc=ValueError, contains='a.onnx is int8 already')
            test_fail(lambda: again(pairs=[]), exc=ValueError, contains='a data set without any')
            strict = dict(int8=Flat(), int8_tolerance=1.)
            test_fail(lambda: export_onnx(net, f'{d}/b.onnx', (64,112), 'none', **strict), exc=ValueError,
                      contains='b.onnx was not written: in onnxruntime it is off by a mean of')
            test_eq(sorted(os.listdir(d)), ['a.onnx','f.onnx'])

def test_calibration_pairs_fit_the_graph():
    from stereo_kd.deploy.export import _Calibration, _fit
    image = torch.arange(6.)[None,None].expand(3,4,6)
    test_eq(_fit(image, (2,4))[0,0,0], torch.tensor([1.,2,3,4]))      # its middle
    test_eq(_fit(image, (5,8))[0,0,4], torch.tensor([0.,1,2,3,4,5,5,5])) # its border repeated
    class Many:
        asked = []
        def __len__(self): return 100
        def __getitem__(self, i): return self.asked.append(i) or (torch.zeros(3,4,6), torch.ones(3,4,6), None, None)
    feed = _Calibration(Many(), (4,8), True)
    given = list(feed)
    test_eq((len(given),Many.asked[0],Many.asked[-1],len(set(Many.asked))), (CALIBRATION_PAIRS,0,99,CALIBRATION_PAIRS))
    test_eq(given[0]['left'].shape, (1,3,4,8))
    test_close(given[0]['left'][0,:,0,0], np.array(IMAGENET_MEAN)) # as the graph takes them

def test_both_tails_agree_and_a_wrong_graph_is_refused():
    from unittest.mock import patch
    from stereo_kd.deploy import export
    torch.manual_seed(0)
    net = create_model('dtpnet_lite', max_disp=48).eval()
    if len(export.installed_runtimes())==2:
        with tempfile.TemporaryDirectory() as d:
            f = Path(d)/'net.onnx'
            for tail in ('none','plain'):
                rows = export.export_onnx(net, f, (45,83), tail)
                test_eq([(r['runtime'],r['precision']) for r in rows], [('onnxruntime','fp32'),('openvino','fp32')])
                assert all(r['max_px']<1e-3 and r['over_0_1']==0 for r in rows), rows
            stamp = f.read_bytes()
            class Swapped(type(net)): # a graph of the wrong network: left and right exchanged
                def forward(self, left, right, upto): return super().forward(right, left, upto=upto)
            wrong = deepcopy(net)
            wrong.__class__ = Swapped
            graph = export._graph
            with patch.object(export, '_graph', lambda net, *a: graph(wrong, *a)):
                test_fail(
                    lambda: export.export_onnx(net, f, (45,83)), exc=ValueError,
                    contains='net.onnx was not written: in onnxruntime it is off by up to')
            test_eq([f.read_bytes()==stamp, os.listdir(d)], [True,['net.onnx']])
            left,right = np.random.default_rng(0).random((2,45,83,3), dtype=np.float32)
            assert export.export_onnx(net, f, (45,83), pair=(left,right), names=['openvino'])[0]['max_px']<1e-3
            test_fail(
                lambda: export.export_onnx(net, f, (44,83), pair=(left,right)), exc=ValueError,
                contains='pair must be 44x83 like the graph, got 45x83')
    test_fail(lambda: export.export_onnx(net, 'net.onnx', (32,32), 'full'), contains="unknown tail 'full'")
    with patch.object(export, 'find_spec', lambda n: None):
        test_eq(export.installed_runtimes(), [])
        test_fail(
            lambda: export.export_onnx(net, 'net.onnx'), exc=RuntimeError,
            contains="pip install 'stereo_kd[export]'")

def test_sessions_run_a_graph():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    x,y = torch.randn(2,1,3,32,64)
    with torch.no_grad():
        (scores,),disp = AnswerMaps(net)(x, y),PlainTail(net)(x, y)
        want = net(x, y)
    test_eq(scores, want.aggregation[-1])
    test_eq(plain_disparity(net, [scores], (32,64)), disp)
    test_close(disp, want.disparity[-1], eps=1e-3)
    if len(installed_runtimes())==2:
        with tempfile.TemporaryDirectory() as d:
            export_onnx(net, f'{d}/a.onnx', (32,64), 'none', 'normalised')
            for session in (onnxruntime_session,openvino_session):
                test_close(session(f'{d}/a.onnx', threads=1)(x.numpy(), y.numpy())[0], scores.numpy(), eps=1e-3)
            row, = parity(net, f'{d}/a.onnx', (x,y), ['onnxruntime'])
            test_eq([row['runtime'],row['over_0_1']], ['onnxruntime',0.])
            test_fail(
                lambda: parity(net, f'{d}/a.onnx', (x,y), ['tensorrt']),
                contains="unknown runtime 'tensorrt'")

def test_the_normalisation_is_inside():
    net = load_model('dtpnet_lite_pruned')
    left,right = (denormalize(v).clamp(0, 1) for v in SyntheticPairs(1, (48,96), 3).batch([0])[:2])
    with torch.no_grad(): want = net(normalize(left), normalize(right)).disparity[-1][0]
    if 'onnxruntime' in installed_runtimes():
        with tempfile.TemporaryDirectory() as d:
            export_onnx(net, f'{d}/a.onnx', (48,96), pair=(left,right))
            got, = onnxruntime_session(f'{d}/a.onnx')(left.numpy(), right.numpy())
            test_close(torch.from_numpy(got[0]), want, eps=1e-2)
            with torch.no_grad(): test_close(FromRGB(PlainTail(net))(left, right)[0], want, eps=1e-2)
            card = graph_card(f'{d}/a.onnx')
            test_eq([card[k] for k in ('network','weights','max_disp','size','tail','images','precision','opset')],
                    ['dtpnet_lite',net.card['weights'],'192','48x96','plain','rgb','fp32','18'])
            assert 'RGB in [0,1], normalised inside' in card['left_and_right'] and 'px' in card['output']
            export_onnx(net, f'{d}/b.onnx', (48,96), 'none', 'normalised')
            card = graph_card(f'{d}/b.onnx')
            assert '(0.485, 0.456, 0.406)' in card['left_and_right'] and card['output'].startswith('scores')
            scores, = onnxruntime_session(f'{d}/b.onnx')(normalize(left).numpy(), normalize(right).numpy())
            test_close(net.disparity(torch.from_numpy(scores), (48,96))[0], want, eps=1e-2)
            import onnx
            used = onnx.load(f'{d}/a.onnx')
            test_eq({(o.domain,o.version) for o in used.opset_import}, {('',OPSET)})
            test_eq({n.domain for n in used.graph.node}, {''}) # operators of ONNX alone
        test_fail(lambda: export_onnx(net, 'a.onnx', (48,96), images='bgr'), contains="unknown kind of images 'bgr'")

def test_one_graph_for_all_sizes():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    if len(installed_runtimes())==2:
        with tempfile.TemporaryDirectory() as d:
            for tail in ('none','plain'):
                assert all(r['max_px']<1e-3 for r in export_onnx(net, f'{d}/a.onnx', None, tail))
            test_eq(graph_card(f'{d}/a.onnx')['size'], 'any multiple of 16')
            for size in ((32,48),(80,256)):
                x,y = torch.rand(2,1,3,*size)
                with torch.no_grad(): want = net(normalize(x), normalize(y)).disparity[-1]
                for session in runtimes.values():
                    test_close(torch.from_numpy(session(f'{d}/a.onnx', 1)(x.numpy(), y.numpy())[0]), want, eps=1e-3)
            test_fail(lambda: export_onnx(net, f'{d}/b.onnx', None, pair=np.zeros((2,40,48,3), np.uint8)),
                      exc=ValueError, contains='pair must be a multiple of 16 in H and W, got 40x48')
            with mock.patch.object(torch.onnx, 'export', side_effect=RuntimeError('a loop')): # as torch says it of some networks
                test_fail(
                    lambda: export_onnx(net, f'{d}/b.onnx', None), exc=ValueError,
                    contains='has no graph for any size: give one')
            test_eq(os.listdir(d), ['a.onnx'])

def test_the_answer_is_exported_by_name():
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
    net,(x,y) = Head().eval(),torch.randn(2,1,3,30,50)
    with torch.no_grad(): test_eq(AnswerMaps(net)(x, y), [net(x, y).extras['coarse']])
    if len(installed_runtimes())==2:
        import onnx
        with tempfile.TemporaryDirectory() as d:
            for tail,name,shape in (('none','coarse',(1,1,8,16)), ('plain','disparity',(1,30,50))):
                rows = export_onnx(net, f'{d}/a.onnx', (30,50), tail)
                assert all(r['max_px']<1e-3 for r in rows), rows
                out, = onnx.load(f'{d}/a.onnx').graph.output
                test_eq((out.name, tuple(s.dim_value for s in out.type.tensor_type.shape.dim)), (name,shape))

def test_learned_upsampling_is_exported():
    torch.manual_seed(0)
    net,size = create_model('dtpnet_lite', max_disp=48, upsample='convex').eval(),(45,83)
    nn.init.normal_(net.upsample.out.weight, 0, .5) # no longer bilinear
    x,y = torch.randn(2,1,3,*size)
    with torch.no_grad():
        scores,weights = AnswerMaps(net)(x, y)
        test_close(PlainTail(net)(x, y), net.disparity(scores, size, weights), eps=1e-4)
        assert (net.disparity(scores, size)-net.disparity(scores, size, weights)).abs().max()>1
    if len(installed_runtimes())==2:
        import onnx
        with tempfile.TemporaryDirectory() as d:
            for tail,names in (('none',['scores','upsample_weights']), ('plain',['disparity'])):
                rows = export_onnx(net, f'{d}/a.onnx', size, tail)
                assert all(r['max_px']<1e-3 for r in rows), rows
                test_eq([o.name for o in onnx.load(f'{d}/a.onnx').graph.output], names)

def test_dominant_mode_is_exported():
    torch.manual_seed(0)
    for upsample in ('bilinear','convex'):
        net,size = create_model('dtpnet_lite', max_disp=48, upsample=upsample, reading='mode').eval(),(45,83)
        if upsample=='convex': nn.init.normal_(net.upsample.out.weight, 0, .5) # no longer bilinear
        x,y = torch.randn(2,1,3,*size)
        with torch.no_grad():
            maps = AnswerMaps(net)(x, y)
            want = disparity_tail(maps[0], 48, size, net.tau, weights=(*maps[1:],None)[0], reading='mode')
            test_close(PlainTail(net)(x, y), want, eps=1e-2)
            assert (want-disparity_tail(maps[0], 48, size, net.tau, weights=(*maps[1:],None)[0])).abs().max()>1
        with tempfile.TemporaryDirectory() as d:
            for tail in ('none','plain') if len(installed_runtimes())==2 else ():
                rows = export_onnx(net, f'{d}/a.onnx', size, tail)
                assert all(r['max_px']<1e-2 for r in rows), rows

@pytest.mark.slow
def test_a_transformer_is_exported():
    if installed_runtimes():
        torch.manual_seed(0)
        net = create_model('madis', size='tiny', max_disp=48).eval()
        with tempfile.TemporaryDirectory() as d:
            rows = export_onnx(net, f'{d}/a.onnx', (40,100), 'plain')
            test_eq([r['runtime'] for r in rows], installed_runtimes())
            assert all(r['max_px']<1e-3 for r in rows), rows

def test_checkpoint_to_file():
    with tempfile.TemporaryDirectory() as d:
        if installed_runtimes():
            export_file('dtpnet_lite_pruned', f'{d}/a.onnx', size='48x96')
            assert Path(f'{d}/a.onnx').stat().st_size>2e5 # its weights are in it
        test_fail(
            lambda: export_file('dtpnet_lite', f'{d}/b.onnx', size='48x96', int8=f'{d}/none'), exc=ValueError,
            contains='none is not a folder')
        test_fail(lambda: export_file('dtpnet_lite', f'{d}/b.trt'), exc=ValueError, contains='b.trt must end in .onnx')
        test_fail(
            lambda: export_file('nobody', f'{d}/b.onnx'), exc=FileNotFoundError,
            contains='no checkpoint nobody')
        test_fail(
            lambda: export_file('dtpnet_pruned', f'{d}/b.onnx', size='48'), exc=ValueError,
            contains='size must be HEIGHTxWIDTH')
        for views in (dict(left='a.png'), dict(right='b.png')):
            test_fail(lambda: export_file('dtpnet_lite', f'{d}/b.onnx', **views), exc=ValueError, contains='got only one')
        assert not Path(f'{d}/b.onnx').exists()
        from stereo_kd.models.zoo import save_model
        checkpoint = Path(d)/'a.safetensors'
        save_model(create_model('dtpnet', max_disp=48, stem=8, width=16), checkpoint)
        before = checkpoint.read_bytes()
        test_fail(
            lambda: export_file(str(checkpoint), str(checkpoint)), exc=ValueError,
            contains='a.safetensors is the input')
        test_eq(checkpoint.read_bytes(), before)
