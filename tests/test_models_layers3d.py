# Generated from nbs/24_models.layers3d.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from torch import nn, Tensor
from stereo_kd.models.layers import DilatedDepthwise, inplace_relu
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.models.layers3d import *

def test_pointwise_is_a_convolution():
    from torch.nn.utils.fusion import fuse_conv_bn_eval
    torch.manual_seed(0)
    conv,x = Pointwise3d(3, 5).double(),torch.randn(2,3,4,5,6).double().requires_grad_()
    want = F.conv3d(x, conv.weight)
    g = torch.randn_like(want)
    for mode in (True,False): # as a product, and as a tracer sees it
        y = conv.train(mode)(x)
        test_close(y, want, eps=1e-12)
        a,b = (torch.autograd.grad(v, (x,conv.weight), g, retain_graph=True) for v in (y,want))
        for p,q in zip(a, b, strict=True): test_close(p, q, eps=1e-12)
        test_eq(y.grad_fn.name().startswith('Convolution'), not mode)
    bn = nn.BatchNorm3d(5).double().eval()
    bn.running_mean.uniform_(-1,1)
    with torch.no_grad():
        assert conv.eval()(x).is_contiguous(memory_format=torch.channels_last_3d)
        test_close(fuse_conv_bn_eval(conv, bn)(x), bn(want), eps=1e-12) # with a bias
        test_eq(tuple(conv.to('meta')(x.to('meta')).shape), (2,5,4,5,6))

def test_hourglass_links():
    torch.manual_seed(0)
    hg = StackedHourglass3d(4).eval()
    x,skip,post = torch.randn(1,4,8,8,12),torch.randn(1,8,4,4,6),torch.randn(1,8,4,4,6)
    y,pre,up = hg(x)
    test_eq([tuple(t.shape) for t in (y,pre,up)], [tuple(x.shape),tuple(skip.shape),tuple(skip.shape)])
    test_close(hg(x, skip, post)[1], F.relu(hg.mid1(hg.down1(x))+post), eps=1e-6)
    nn.init.zeros_(hg.up2[1].weight) # silence the way up: what remains is the skip connection
    test_close(hg(x)[2], pre, eps=1e-6)
    test_close(hg(x, skip, post)[2], F.relu(skip), eps=1e-6)

def test_layers_3d():
    x = torch.randn(2,3,4,6,8)
    test_eq(tuple(ConvBN3d(3,5,1,stride=2)(x).shape), (2,5,2,3,4))
    test_eq(tuple(UpBN3d(3,5)(x).shape), (2,5,8,12,16))
    test_eq([len(ConvBN3d(3,3)), len(ConvBN3d(3,3,act=nn.ReLU()))], [2,3])
    y = UpBN3d(3,5)(x).transpose(0,1).flatten(1) # normalised
    test_close(y.mean(1), torch.zeros(5), eps=1e-4)
    test_close(y.std(1), torch.ones(5), eps=1e-2)
    assert isinstance(ConvBN3d(3,5,1)[0], Pointwise3d) and not isinstance(ConvBN3d(3,5)[0], Pointwise3d)

def test_skip_hourglass_by_parts():
    torch.manual_seed(0)
    def silenced(*names):
        hg = Hourglass3d(4).eval()
        for n in names: nn.init.zeros_(getattr(hg, n)[1].weight)
        return hg
    x = torch.randn(1,4,8,8,12)
    hg = silenced('up1')
    test_close(hg(x), F.relu(hg.skip1(x)), eps=1e-6)
    hg = silenced('skip1','up2')
    half = hg.down1(x)
    test_close(hg(x), F.relu(hg.up1(F.relu(hg.skip2(half)))), eps=1e-6)
    hg = silenced('skip1','skip2')
    test_close(hg(x), F.relu(hg.up1(F.relu(hg.up2(hg.down2(hg.down1(x)))))), eps=1e-6)
    test_eq([tuple(hg.down1(x).shape),tuple(hg.down2(hg.down1(x)).shape)], [(1,8,4,4,6),(1,16,2,2,3)])
    hg.inner = nn.Upsample(scale_factor=1)
    hg.inner.forward = lambda low: 0*low # the inner layer is asked, and nothing goes past it
    test_close(hg(x), F.relu(hg.up1(F.relu(hg.up2(0*hg.down2(half))))), eps=1e-6)

def test_layout_changes_no_number():
    torch.manual_seed(0)
    stem,head,x = VolumeStem(6, 4, 5).eval(),score_head3d(4).eval(),torch.randn(2,6,4,8,8)
    y = stem(x)
    test_eq(tuple(stem.reduce[0][0].weight.shape[:2]), (5,6))
    plain = stem.reduce(x)
    test_close(y, plain+stem.residual(plain), eps=1e-5)
    test_eq(channels_last_3d(x), x)
    for v in (channels_last_3d(x), y, Hourglass3d(4).eval()(y)): # one layer hands the layout to the next
        assert v.is_contiguous(memory_format=torch.channels_last_3d)
    test_eq(tuple(head(y).shape), (2,1,4,8,8))
    test_eq([m.bias for m in (head[-1],head[0][0])], [None,None])
    nn.init.zeros_(stem.residual[1][1].weight) # silenced, the residual part is the identity
    test_close(stem(x), stem.reduce(x), eps=1e-6)
    mixed = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv3d(3, 4, 3), nn.BatchNorm3d(4))
    before = [p.detach().clone() for p in mixed.parameters()]
    assert weights_channels_last(mixed) is mixed
    for a,b in zip(mixed.parameters(), before, strict=True): test_eq(a.detach(), b)
    assert mixed[0].weight.is_contiguous(memory_format=torch.channels_last)
    assert mixed[1].weight.is_contiguous(memory_format=torch.channels_last_3d)

def test_windows_by_hand_and_padding_has_no_say():
    torch.manual_seed(0)
    att = WindowAttention3d(6, 3, 2).double()
    for size in ((4,2,6),(3,5,7),(1,1,1)):
        x = torch.randn(2,6,*size).double()
        got,want = att(x),torch.zeros_like(x)
        starts = [range(0, n, 2) for n in size]
        for b,d,h,w in ((b,d,h,w) for b in range(2) for d in starts[0] for h in starts[1] for w in starts[2]):
            cells = x[b,:,d:d+2,h:h+2,w:w+2]
            q,k,v = att.qkv(cells.flatten(1).T).split(6, 1)
            heads = [((q[:,i:i+2]@k[:,i:i+2].T)/2**.5).softmax(1)@v[:,i:i+2] for i in (0,2,4)]
            want[b,:,d:d+2,h:h+2,w:w+2] = torch.cat(heads, 1).T.view_as(cells)
        test_close(got, att.out(want.movedim(1, -1)).movedim(-1, 1), eps=1e-10)
    x = torch.randn(1,6,4,4,4).double()
    y = x.clone()
    y[...,2:] = 99. # another window: it is not seen
    test_close(att(x)[...,:2], att(y)[...,:2], eps=1e-10)
    test_fail(lambda: WindowAttention3d(6, 4), contains='got 4 for 6')

def test_gradients_stay_within_a_window():
    torch.manual_seed(0)
    att = WindowAttention3d(4, 2)
    test_eq(att.mask(torch.zeros(1,4,12,8,4), [0]*6), None)
    x = torch.randn(1,4,6,4,8, requires_grad=True) # 96 disparities at a sixteenth
    att(x)[0,:,5,1,2].sum().backward() # in the window of disparities 4 to 7, of which 6 and 7 are padding
    reached = x.grad.abs().sum((0,1))>0
    want = torch.zeros_like(reached)
    want[4:6,:,:4] = True
    test_eq(reached, want)

def test_patches_stay_on_their_disparity():
    torch.manual_seed(0)
    for dilation in (1,2,3):
        p,x = Patch(4, dilation).double(),torch.randn(2,4,5,12,14, requires_grad=True, dtype=torch.float64)
        near = nn.functional.conv3d(x, p.near.weight[:,:,None], padding=(0,1,1), groups=4)
        want = nn.functional.conv3d(
            near, p.far.weight[:,:,None], padding=(0,dilation,dilation), dilation=(1,dilation,dilation), groups=4)
        test_close(p(x), want, eps=1e-10)
        grad, = torch.autograd.grad(p(x)[1,2,3,6,7], x)
        d,y,_ = grad[1,2].nonzero(as_tuple=True)
        test_eq([d.unique().tolist(),int(y.max()-y.min())+1], [[3],3+2*dilation])
        assert not grad[0].any() and not grad[1,[0,1,3]].any()

def test_each_layer_has_its_own_patches():
    torch.manual_seed(0)
    att = VolumeAttention((2,4,4), 4).eval()
    x = torch.randn(1,10,4,16,16)
    test_eq(tuple(att(x).shape), (1,1,4,16,16))
    for i,share in enumerate((slice(0,2),slice(2,6),slice(6,10))): # silenced, a layer's share is not seen
        far = att.patches[i].far.weight
        kept = far.data.clone()
        far.data.zero_()
        y = x.clone()
        y[:,share] += 1
        test_close(att(x), att(y), eps=1e-6)
        far.data.copy_(kept)
        assert (att(x)-att(y)).abs().max()>1e-3
