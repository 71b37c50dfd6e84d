# Generated from nbs/73_inference.predict.ipynb; edit the notebook, not this file
import math, warnings
from pathlib import Path
import numpy as np, torch
import torch.nn.functional as F
from torch import nn
from stereo_kd.core import evaluating, normalize
from stereo_kd.models.zoo import load_model
from stereo_kd.inference.engines import run_by
from stereo_kd.inference.image import to_image
from stereo_kd.inference.confidence import read_confidence
from stereo_kd.inference.left_right import check_post, left_right_check, postprocess, right_disparity
from stereo_kd.inference.rectify import align_rows, row_offsets
from stereo_kd.inference.sanity import find_fault
from stereo_kd.inference.tiled import Tiled
import cv2, warnings
from types import SimpleNamespace
from unittest.mock import patch
from fastcore.test import *
from PIL import Image
import matplotlib.pyplot as plt
from stereo_kd.core import denormalize
from stereo_kd.data.io import color_disparity
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.inference.confidence import answer_with_confidence
from stereo_kd.inference.left_right import left_right_disparities
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.zoo import create_model
from stereo_kd.testing import patch_net
from stereo_kd.inference.predict import *

def test_known_shift_any_size_and_scale():
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (61,165,3), dtype=np.uint8), (0,0), 2)
    left,right = wide[:,:149],wide[:,16:] # right[x-16] = left[x]
    for scale in (1,2,.5):
        disp = predict(patch_net(StereoNet, correlation_volume), left, right, scale=scale)
        test_eq(disp.shape, (61,149))
        test_eq(disp.dtype, np.float32)
        test_close(np.median(disp[:,20:]), 16, eps=.5)
    assert np.median(np.abs(predict(patch_net(StereoNet, correlation_volume), right, left)-16))>2 # swapped views do not match

def test_align_moves_the_rows_back():
    wide = cv2.normalize(
        cv2.GaussianBlur(np.random.default_rng(0).random((240,340,3)), (0,0), 2), None, 0, 255,
        cv2.NORM_MINMAX).astype(np.uint8)
    left,right = wide[:,:324],wide[:,16:] # right[x-16] = left[x]
    moved = align_rows(left, right, (-1.,-2.,0))
    def error(view, **kw): return np.abs(predict(patch_net(StereoNet, correlation_volume), left, view, **kw)-16)[:,20:].mean()
    raw,aligned,untouched = error(moved),error(moved, align=True),error(right)
    assert aligned<.5*raw and aligned<1.1*untouched, (raw,aligned,untouched)

def test_faults_are_told_with_the_option_that_mends_them():
    class Net(nn.Module):
        max_disp = 48
        def forward(self, left, right):
            self.seen = right
            return SimpleNamespace(disparity=[left[:,0]*0+9.])
    def told(left, right, **kw):
        with warnings.catch_warnings(record=True) as w:
            warnings.simplefilter('always')
            predict(net, left, right, **kw)
        return [str(v.message) for v in w if issubclass(v.category, PairWarning)]
    wide = cv2.normalize(
        cv2.GaussianBlur(np.random.default_rng(0).random((260,400,3)), (0,0), 2), None, 0, 255,
        cv2.NORM_MINMAX).astype(np.uint8)
    net,left,right = Net(),wide[10:250,:360],wide[10:250,30:390] # right[x-30] = left[x]
    test_eq(told(left, right), [])
    cases = {'swapped': (right,left,{}), 'align=True': (left,wide[2:242,30:390],{}), "scale='auto'": (left,right,dict(scale=2.))}
    scenes = SyntheticPairs(8, (256,512), seed=0).render([1,7])
    views = [(255*scenes[v][i].permute(1,2,0).numpy()).astype(np.uint8) for i,v in ((0,'left'),(0,'right'),(1,'right'))]
    cases['do not show one scene'] = views[0],views[2],{}
    cases['turned by 90'] = np.rot90(views[0]),np.rot90(views[1]),{}
    for words,(l,r,kw) in cases.items():
        said = told(l.copy(), r.copy(), **kw)
        assert len(said)==1 and words in said[0] and '--no-check' in said[0], (words, said)
        test_eq(told(l.copy(), r.copy(), check=False, **kw), [])
    test_eq(told(left, wide[2:242,30:390], align=True), []) # 8 rows: what mends it is asked for,
    aligned = denormalize(net.seen)[0].permute(1,2,0).numpy()*255
    assert np.abs(aligned-right)[12:-12].mean()<2, np.abs(aligned-right)[12:-12].mean() # and it does
    low = cv2.warpAffine(wide, np.float32([[1,0,0],[0,1,8.4]]), (400,260))[10:250,30:390] # what is left after 8 rows is seen too
    test_eq(told(left, low, align=True), [])
    rest = np.abs(denormalize(net.seen)[0].permute(1,2,0).numpy()*255-right)[12:-12].mean()
    assert rest<1.5, rest

def test_scale_fits_the_range():
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60,340,3), dtype=np.uint8), (0,0), 2)
    left,right = wide[:,:300],wide[:,40:] # right[x-40] = left[x]
    large = [cv2.resize(v, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC) for v in (left,right)]
    net = patch_net(StereoNet, correlation_volume)
    far = np.abs(predict(net, *large, check=False)-120)[:,140:]
    near = np.abs(predict(net, *large, scale='auto')-120)[:,140:]
    assert np.median(far)>30 and np.median(near)<3, (np.median(far), np.median(near))
    pair = torch.stack([torch.from_numpy(v/255).float().permute(2,0,1) for v in large])
    scale = fitting_scale(net, pair)
    assert .3<scale<.4, scale # 43 of 120 px
    test_eq(predict(net, *large, scale='auto', engine='torch'), predict(net, *large, scale=scale, engine='torch', check=False))
    small = wide[:,:120],wide[:,8:128]
    test_eq(predict(net, *small, scale='auto', engine='torch'), predict(net, *small, engine='torch')) # within the range: as it is
    test_fail(lambda: predict(net, *small, scale='best'), exc=ValueError, contains="scale must be a number or 'auto', got 'best'")
    for wrong in (0, -1., float('nan')): test_fail(lambda: predict(net, *small, scale=wrong), exc=ValueError, contains='scale must be positive')

def test_post_modes():
    wide = cv2.normalize(
        cv2.GaussianBlur(np.random.default_rng(0).random((240,340,3)), (0,0), 2), None, 0, 255,
        cv2.NORM_MINMAX).astype(np.uint8)
    left,right = wide[:,:324],wide[:,16:] # right[x-16] = left[x]
    for scale in (1,2):
        none,filtered,checked = (predict(patch_net(StereoNet, correlation_volume), left, right, scale, post=p) for p in ('none','filter','left_right'))
        off = [np.abs(d-16)[:,:14].mean() for d in (none,checked)]
        assert off[1]<.5 and off[1]<.2*off[0], off
        assert (none!=checked)[:,:18].any()
        assert (checked!=none)[:,18:].mean()<.05
        test_eq(filtered, postprocess(none, left))
        assert (filtered!=none).any()
    for wrong in ('','both',None):
        test_fail(
            lambda: predict(patch_net(StereoNet, correlation_volume), left, right, post=wrong), exc=ValueError,
            contains=f"post must be 'none', 'filter' or 'left_right', got {wrong!r}")

def test_tiles():
    class Local(nn.Module): # answers with the brightness of each pixel
        max_disp = 8
        def __init__(self):
            super().__init__()
            self.seen = set()
        def forward(self, left, right):
            self.seen.add(tuple(left.shape))
            return SimpleNamespace(disparity=[left[:,0]+9])
    torch.manual_seed(0)
    left,right = torch.rand(2,3,50,120)
    net = Local()
    whole = predict(net, left, right)
    test_eq(predict(net, left, right, tile=(50,120)), whole)
    net.seen.clear()
    test_close(predict(net, left, right, tile=(32,48)), whole, eps=1e-5)
    test_eq(net.seen, {(1,3,32,48)})
    test_close(predict(net, left, right, 2., tile=(32,48)), predict(net, left, right, 2.), eps=1e-5)
    checked = predict(net, left, right, post='left_right')
    test_close(predict(net, left, right, post='left_right', tile=(32,48)), checked, eps=1e-4)
    test_fail(lambda: predict(net, left, right, tile=(32,6)), exc=ValueError, contains='a tile is 6 px wide')

def test_further_maps():
    torch.manual_seed(0)
    wide = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (60,340,3), dtype=np.uint8), (0,0), 2)
    left,right = wide[:,:300].copy(),wide[:,16:316] # right[x-16] = left[x]
    left[20:40,100:150] = left[:20,200:250] # nothing of the right view is like this patch
    net = create_model('dtpnet_lite', max_disp=48).eval()
    x,y = (normalize(to_image(v))[None] for v in (left,right))
    disp,sure = answer_with_confidence(net, x, y)
    maps = predict(net, left, right, engine='torch', more=('confidence','occluded'))
    test_eq(list(maps), ['disparity','confidence','occluded'])
    test_eq((maps['disparity'],maps['confidence']), (disp[0].numpy(),sure[0].numpy()))
    with torch.no_grad(): views = [v[0].numpy() for v in left_right_disparities(net, x, y)]
    test_eq(maps['occluded'], ~left_right_check(*views))
    assert maps['confidence'].std()>0 and maps['occluded'].dtype==bool
    plain,both = (predict(net, left, right, engine='torch', post='left_right', **kw) for kw in ({},dict(more=MAPS)))
    test_eq(both['disparity'], plain)
    test_eq(both['confidence'], maps['confidence']) # the network's own
    by_patches = predict(patch_net(StereoNet, correlation_volume), left, right, more='occluded')['occluded']
    assert by_patches[:,:12].mean()>.8 and by_patches[22:38,104:146].mean()>.5 and by_patches[:15,20:].mean()<.1
    net = load_model('dtpnet_lite') # one that can be sure
    for scale in (1.,2.): # tiles that see enough agree with the whole, at any scale
        tiles = None,(int(60*scale),int(200*scale))
        whole,tiled = (predict(net, left, right, scale, engine='torch', tile=t, more='confidence') for t in tiles)
        test_eq(tiled['confidence'].shape, (60,300))
        off = np.abs(whole['confidence']-tiled['confidence'])
        assert off[:,:40].mean()<.1 and 0<=tiled['confidence'].min()<=tiled['confidence'].max()<=1
        assert whole['confidence'].max()>.9, (scale, whole['confidence'].max())
    for wrong in ('occlusion',('confidence','depth')):
        test_fail(lambda: predict(net, left, right, more=wrong), exc=ValueError, contains="'occluded'), got '")
    test_eq(check_maps('occluded'), ('occluded',))
    class Silent(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[left[:,0]])
    test_fail(lambda: predict(Silent(), left, right, more='confidence'), exc=ValueError, contains='a Silent gives no scores')

def test_channels_and_normalisation():
    class Probe(nn.Module):
        max_disp = 8
        def forward(self, left, right):
            self.seen = left,right
            return SimpleNamespace(disparity=[left[:,0]*0, left[:,0]+10*right[:,2]])
    rng = np.random.default_rng(0)
    left,right = (rng.integers(0, 256, (6,9,3), dtype=np.uint8) for _ in range(2))
    net = Probe()
    want = predict(net, left, right)
    # RGB, ImageNet statistics, the last output
    test_close(want, (left[...,0]/255-.485)/.229+10*(right[...,2]/255-.406)/.225, eps=1e-4)
    test_close(denormalize(net.seen[1])[0].permute(1,2,0).numpy(), right/255, eps=1e-6)
    for f in (
        Image.fromarray, lambda a: a/255, lambda a: torch.from_numpy(a).permute(2,0,1)[None],
        lambda a: a.astype(np.uint16)*257):
        test_close(predict(net, f(left), right), want, eps=1e-5)
        test_close(predict(net, left, f(right)), want, eps=1e-5)
    stripes = np.tile(np.uint8([255,0,0,255]), (8,12))
    predict(net, stripes, stripes, scale=.25)
    # made smaller by averaging, not by picking pixels
    test_close(denormalize(net.seen[0]), torch.full((1,3,2,12), .5), eps=.1)

def test_network_comes_back_as_it_was():
    class Net(nn.Module):
        max_disp = 8
        def __init__(self):
            super().__init__()
            self.bn,self.conv = nn.BatchNorm2d(3),nn.Conv2d(3, 1, 1)
        def forward(self, left, right):
            assert not self.training and torch.is_inference_mode_enabled()
            return SimpleNamespace(disparity=[self.conv(self.bn(left))[:,0]])
    net = Net().train()
    net.bn.eval()
    before = [p.clone() for p in net.state_dict().values()]
    x = np.random.default_rng(0).random((10,12,3))
    a = predict(net, x, x)
    test_eq([net.training,net.bn.training,net.conv.training], [True,False,True])
    assert all(torch.equal(p,q) for p,q in zip(before, net.state_dict().values(), strict=True))
    test_close(predict(net.bfloat16(), x, x), a, eps=.1) # runs in the precision of its weights
    test_eq(predict(net, x, x).dtype, np.float32)

def test_predict_refuses():
    class Net(nn.Module):
        max_disp = 96
        def forward(self, left, right): return SimpleNamespace(disparity=[left[:,0]])
    net,a = Net(),np.zeros((50,100,3), np.uint8)
    def says(words, *args, **kw): test_fail(lambda: predict(*args, **kw), exc=ValueError, contains=words)
    says('left is 100x50 px and right 99x50 px', net, a, a[:,1:])
    says('left is 100x50 px and right 100x49 px', net, a, a[1:])
    says(
        'the images are 60 px wide, less than the 96 px of disparity that the network searches; '
    'pass scale=1.6 to enlarge them, or use a network made with create_model(..., max_disp=48)',
        net, a[:,:60], a[:,:60])
    says(
        '50 px wide after scaling, less than the 96 px of disparity that the network searches; pass scale=1 to',
        net, a, a, scale=.5)
    test_eq(predict(net, a[:,:60], a[:,:60], scale=1.6).shape, (50,60)) # the hint helps
    says('right has nan or inf', net, a, a+np.nan)
    says('scale must be positive, got 0', net, a, a, scale=0)
    says('right must be a file name, a PIL image, a NumPy array or a tensor, got Net', a, a, net)
    says('net must be a network, or the name or file of one, got ndarray', a, a, a)

def test_a_map_that_is_not_finite_is_told():
    class Broken(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[torch.where(left[:,0]>0, left[:,0]/0, 1.)])
    a = np.zeros((6,9,3), np.uint8)
    a[2,3:5] = 255
    with warnings.catch_warnings(record=True) as told: disp = predict(Broken(), a, a, check=False)
    test_eq(np.isinf(disp).sum(), 2)
    assert [w.category for w in told]==[RuntimeWarning] and '2 of 54 pixels' in str(told[0].message)
    with warnings.catch_warnings(record=True) as told: predict(Broken(), 0*a, 0*a, check=False)
    test_eq(told, [])
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        test_fail(lambda: predict(Broken(), a, a, post='filter'), exc=ValueError, contains='nan or inf')

def test_network_by_name():
    class Net(nn.Module):
        max_disp = 8
        def forward(self, left, right): return SimpleNamespace(disparity=[left[:,0]])
    asked = []
    def load(name):
        asked.append(name)
        return Net()
    a = np.zeros((5,9,3), np.uint8)
    with patch.dict(predict.__globals__, load_model=load): test_eq(predict('dtpnet', a, a), predict(Net(), a, a))
    test_eq(asked, ['dtpnet'])
