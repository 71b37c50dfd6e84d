# Generated from nbs/31_models.dtpnet_lite.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import cosine_volume
from stereo_kd.models.layers import ConvBN, make_upsample
from stereo_kd.models.regression import check_reading
from fastcore.test import *
from stereo_kd.evaluation.cost import costs, module_table
from stereo_kd.core import format_table
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.dtpnet import DTPnet
from stereo_kd.models.dtpnet_lite import *

def test_below_adds_at_any_size():
    torch.manual_seed(0)
    b = Below(4, 6).eval()
    x = torch.randn(1,4,7,9)
    test_eq(b(x).shape, x.shape)
    for p in b.body[-1].parameters(): p.data.zero_()
    test_eq(b(x).detach(), F.relu(x)) # nothing from below: the identity
    r = Residual(4).eval()
    r.body[1].weight.data.zero_()
    test_eq(r(x).detach(), x)

def test_a_quarter_of_the_arithmetic():
    lite,whole = (costs(net.eval(), (540,960), 0) for net in (DTPnetLite(),DTPnet()))
    test_close([lite['params_m'],lite['macs_g']], [.128,2.498], eps=.002)
    assert lite['macs_g']<.25*whole['macs_g'] and lite['params_m']<.2*whole['params_m']

def test_without_the_residual_at_a_quarter():
    torch.manual_seed(0)
    net,x = DTPnetLite(96, fine=False).eval(),torch.randn(1,3,32,64)
    assert not [n for n,_ in net.named_parameters() if n.startswith('fine')]
    with torch.no_grad():
        test_eq(net.features(x, {})[1], net.stem(x))
        assert (DTPnetLite(96).eval().features(x, {})[1]-net.stem(x)).abs().max()>.1

def test_stages_and_sizes():
    torch.manual_seed(0)
    net = DTPnetLite(96, stem=8, width=16, deep=24).eval()
    x,y = torch.randn(2,1,3,45,131)
    with torch.no_grad(): out = net(x, y)
    test_eq([tuple(out.aggregation[-1].shape),tuple(out.disparity[-1].shape)], [(1,24,12,36),(1,45,131)])
    assert 0<=out.disparity[-1].min() and out.disparity[-1].max()<=95
    with torch.no_grad(): v = net(x, x, upto='cost_volume').cost_volume
    test_close(v[:,0]/SHARPNESS, torch.ones_like(v[:,0]), eps=1e-5) # a cosine: 1 at the true shift of equal views

def test_starts_as_a_block_matcher():
    torch.manual_seed(0)
    net = DTPnetLite().eval()
    v = torch.randn(1,48,8,12)
    net.score.weight.data[:,:48] = 0
    net.score.bias.data.zero_()
    with torch.no_grad(): test_eq(net.aggregation(v, [None,torch.randn(1,32,8,12),None], None, {}, False)[0], v)

def test_learned_upsampling_is_an_option():
    from stereo_kd.models.base import answer_maps
    torch.manual_seed(0)
    net = DTPnetLite(96, stem=8, width=16, deep=24, upsample='convex').eval()
    x,y = torch.randn(2,1,3,45,131)
    with torch.no_grad(): out = net(x, y)
    test_eq([tuple(m.shape) for m in answer_maps(net, out)], [(1,24,12,36),(1,144,12,36)])
    # at the start the weights are bilinear, of the disparities of cells; afterwards they decide
    nn.init.normal_(net.upsample.out.weight, 0, .5)
    with torch.no_grad(): moved = net(x, y)
    # they are the left view's: another right view leaves them as they are
    with torch.no_grad(): test_eq(net(x, y.flip(-1)).extras['upsample_weights'], moved.extras['upsample_weights'])
    assert (moved.extras['upsample_weights']-out.extras['upsample_weights']).abs().max()>.01
    test_eq(moved.aggregation[-1], out.aggregation[-1])
    assert (moved.disparity[-1]-out.disparity[-1]).abs().max()>1 and 0<=moved.disparity[-1].min() and moved.disparity[-1].max()<=95
    assert net.upsample.out in net.bins() and len(DTPnetLite(96).bins())==1
    test_fail(lambda: DTPnetLite(upsample='cubic'), contains="'bilinear' or 'convex', got 'cubic'")
