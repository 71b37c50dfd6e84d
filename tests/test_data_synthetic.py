# Generated from nbs/09_data.synthetic.ipynb; edit the notebook, not this file
import torch
from contextlib import contextmanager
from fastcore.basics import patch
from functools import lru_cache
from torch import Tensor
from stereo_kd.core import normalize, pick
import time
import matplotlib.pyplot as plt
import numpy as np
import torch.nn.functional as F
from fastcore.test import *
import pytest
from stereo_kd.data.synthetic import *

def test_seeds_are_distinct():
    seeds = {pair_seed(s,i) for s in range(20) for i in range(500)}
    test_eq(len(seeds), 10_000)
    test_eq(pair_seed(3,5), pair_seed(3,5))
    assert abs(sum(s>>62 for s in seeds)/10_000-.5)<.02 # the top bit is fair

def test_recipes_do_what_they_say():
    u = torch.rand(100_000, generator=torch.Generator().manual_seed(0))
    n = 64
    rough = lambda t: (t[...,1:]-t[...,:-1]).abs().mean()/t.std()
    assert rough(octaves(u, n, .9))>1.5*rough(octaves(u, n, .4)) # more of the fine octaves
    edges = lambda t: (t[...,1:]-t[...,:-1]).abs().flatten().quantile(.5)/(t[...,1:]-t[...,:-1]).abs().max()
    for t in (collage(u, n), blocks(u, n), cells(u, n)):
        assert edges(t)<.7*edges(octaves(u, n, .6)) # a few sharp edges
    u[:4] = torch.tensor([.5,1/3,.5,0.])
    x = repeats(u, n)[0]-.25*octaves(u[1000:], n, .7)[0] # stripes of 8 px without their noise
    test_close(x[:,8:], x[:,:-8], eps=1e-5)
    assert (x[:,4:]-x[:,:-4]).abs().max()>.01

def test_atlas_is_bytes():
    t = atlas(64, 8)
    test_eq((255*t).round(), 255*t) # bytes, so that rounding cannot differ between machines
    test_eq(tuple(t.shape), (8,64,64,3))
    assert t.amin((1,2)).max()==0 and t.amax((1,2)).min()==1
    assert all((t[i]-t[j]).abs().mean()>.05 for i in range(8) for j in range(i))

def test_both_views_agree():
    size = (96,192)
    x,y = pixels(size)
    scenes,_ = draw_scenes(0, range(12), size)
    left,_ = render_disparity(scenes, x, y, size[1])
    back,_ = render_disparity(scenes, x-left, y, size[1], right=True)
    seen = visible(scenes, left)
    test_close(back[seen], left[seen], eps=2e-2)
    assert (back[~seen & (x-left>=0)] > left[~seen & (x-left>=0)]).all()
    assert .6<seen.float().mean()<.95 and left.min()>0

def test_boxes_lose_nothing():
    size = (96,192)
    x,y = pixels(size)
    for i in range(12):
        scenes,_ = draw_scenes(2, [i], size)
        whole = scenes|dict(boxes=[(slice(0,96),slice(0,192),slice(0,192),True,True)]*N_LAYERS)
        for right in (False,True):
            for rise in (0,-RISE,RISE)[:1+2*right]:
                for a,b in zip(
                    render_disparity(scenes, x, y+rise, 192, right),
                    render_disparity(whole, x, y+rise, 192, right)):
                    assert (a!=b).float().mean()<1e-4 or not right and (a==b).all(), (
                        i, right, rise, (a!=b).float().mean())

def test_occlusion_equals_left_right_check():
    size = (96,192)
    x,y = pixels(size)
    scenes,_ = draw_scenes(1, range(12), size)
    left,_ = render_disparity(scenes, x, y, size[1])
    right,_ = render_disparity(scenes, x, y, size[1], right=True)
    xr = (x-left).round().long()
    check = (right.gather(2, xr.clamp(0, size[1]-1))-left).abs()<1
    check &= (x-left>=0)
    differ = check!=visible(scenes, left)
    assert differ.float().mean()<.03, differ.float().mean()
    edge = F.max_pool2d(right, 3, 1, 1)+F.max_pool2d(-right, 3, 1, 1)>1 # near a jump of the right map
    near_edge = edge.gather(2, xr.clamp(0, size[1]-1))
    assert (differ & ~near_edge & (xr>0)).float().mean()<.002

def test_lookup_is_bilinear_and_endless():
    tex = atlas(64, 8)
    k = torch.tensor([3])
    test_close(
        lookup(tex, k, torch.tensor([10.25]), torch.tensor([7.])), .75*tex[3,7,10] +.25*tex[3,7,11],
        eps=1e-6)
    u = torch.tensor([20.5])
    v = torch.tensor([33.])
    test_close(lookup(tex, k, u, v), lookup(tex, k, -u, v), eps=1e-6)
    test_close(lookup(tex, k, u, v), lookup(tex, k, u+128, v+128), eps=1e-5)

def test_noise_is_normal_and_keyed():
    n = noise(torch.tensor([1,2]), (64,64,3))
    assert abs(n.mean())<.02 and abs(n.std()-1)<.02
    assert abs((n[0]*n[1]).mean())<.03 and abs((n[:,1:]*n[:,:-1]).mean())<.03 and abs(
        (n[:,:,1:]*n[:,:,:-1]).mean())<.03

def test_both_views_wear_one_texture():
    size = (48,96)
    x,y = pixels(size)
    def views_differ(without): # by how much, where both see the surface, and which surface it is
        scenes,_ = draw_scenes(5, range(8), size, without=without)
        a,d = paint(scenes, x, y, 96, False)
        assert 0<=a.min() and a.max()<=1
        same = paint(scenes, x-d, y, 96, True)[0] # the right view, asked where the left pixels are
        return (same-a).abs().mean(-1),visible(scenes, d),(scenes['slip'][:,:,0,0]!=0).gather(
            1, render_disparity(scenes, x, y, 96)[1].flatten(1)).view_as(d)
    err,seen,_ = views_differ(['reflections'])
    test_eq(tuple(err.shape), (8,48,96))
    assert err[seen].max()<.02
    err,seen,glossy = views_differ(())
    assert err[seen & ~glossy].max()<.02 and err[seen & glossy].mean()>.03 # only what mirrors differs

def test_shadows_lie_on_surfaces():
    size = (48,96)
    x,y = pixels(size)
    scenes,_ = draw_scenes(5, range(16), size)
    bare,_ = draw_scenes(5, range(16), size, without=['shadows'])
    d,_ = render_disparity(scenes, x, y, 96)
    light = lit(scenes, x.expand(d.shape), y, d)
    cast = scenes['dark'][:,0,0,0]>0
    assert (light[~cast]==1).all() and light.min()>=.05 and light.max()<=1 and 4<=cast.sum()<=12 and light[cast].flatten(1).std(1).median()>.05 # some light, some dark
    (a,_),(b,_) = paint(scenes, x, y, 96, False),paint(bare, x, y, 96, False)
    inside = (b<1) & (b>0) & (a<1)
    test_close(a[inside], (b*light[...,None])[inside], eps=1e-5) # it only takes light away

def test_a_plain_camera_only_rounds():
    rgb = torch.rand(2,8,9,3, generator=torch.Generator().manual_seed(0))
    zero = torch.zeros(2,1,1,1)
    shared = dict(gain=zero+1, offset=zero, tone=zero, blur=zero, noise=zero)
    plain = lambda lo,hi,power=1: torch.zeros(2)
    test_close(photograph(rgb, shared, plain, torch.tensor([1,2])), (255*rgb).round()/255, eps=1e-6)
    noisy = photograph(rgb*.5+.25, shared|dict(noise=zero+.05), plain, torch.tensor([1,2]))-(rgb*.5+.25)
    assert abs(noisy.std()-.05)<.01
    dark = photograph(rgb, shared|dict(tone=zero-.5), plain, torch.tensor([1,2]))
    assert dark.mean()<rgb.mean()-.03

def test_ingredients_can_be_left_out():
    def pair(*without): return SyntheticPairs(60, (64,128), without=without).render([41])
    whole = pair()
    scenes = lambda *without: draw_scenes(0, range(60), (64,128), without=without)[0]
    for k in INGREDIENTS:
        assert any(
            (SyntheticPairs(60, (64,128), without=[k]).render([i])['right']-SyntheticPairs(60, (64,128)).render([i])['right']).abs().max()>.01
            for i in range(6)), k
    for k in DISAGREEMENTS: test_eq(pair(k)['disp'], whole['disp'])
    test_eq([bool((scenes('curves')[k]!=0).any()) for k in 'bcef'], [True,True,False,False])
    test_eq([bool((scenes('slant')[k][:,2:]!=0).any()) for k in 'bcef'], [False]*4)
    glossy = scenes()['slip']!=0
    assert .1<glossy.float().mean()<.3 and not glossy[:,0].any() and not (scenes('reflections')['slip']!=0).any() and not (scenes('reflections')['sheen']!=0).any()
    dark = scenes()['dark'][:,0]>0
    assert .3<dark.float().mean()<.7 and not (scenes('shadows')['dark']>0).any()
    assert (scenes()['contrast']<.2).any() and not (
        scenes('flat')['contrast']<.2).any() and (scenes()['strips']>0).any() and not (
            scenes('thin')['strips']>0).any()
    assert (scenes()['sx'][:,1]>900).float().mean()>.3 and not (scenes('ground')['sx'][:,1]>900).any()
    a,b = (pair(*DISAGREEMENTS)[v] for v in ('left','right'))
    test_close((255*a).round()/255, a, eps=1e-6) # a plain pair is still a photograph
    test_fail(
        lambda: SyntheticPairs(1, without=['slants']),
        contains="unknown ingredient 'slants'; known: blur, curves")

def test_warping_gives_the_left_image_back():
    r = SyntheticPairs(16, (96,192), without=DISAGREEMENTS, occluded=False).render(range(16))
    x,_ = pixels((96,192))
    xr = (x-r['disp']).clamp(0, 190.999)
    i = xr.long()
    f = (xr-i)[:,None]
    moved = lambda k: r['right'].gather(3, (i+k)[:,None].expand(-1,3,-1,-1))
    err = (moved(0)+(moved(1)-moved(0))*f-r['left']).abs().mean(1)
    seen = r['visible']
    assert 255*err[seen].median()<1, 255*err[seen].median()
    assert 255*err[seen].mean()<4 and err[seen].mean()*4<err[~seen].mean()
    unmoved = (r['right']-r['left']).abs().mean(1)
    assert unmoved[seen].mean()>8*err[seen].mean() # and zero disparity does not

def test_rows_are_nearly_level():
    def best_shift(r, k):
        "Rows by which the right image must move to match the left one best"
        i = xr[k].long()
        f = xr[k]-i
        seen = r['visible'][k,4:-4]
        def error(s):
            y = torch.arange(4, 92)+s
            a = y.floor().long() if isinstance(y, torch.Tensor) else y
            t = (y-a)[:,None]
            right = r['right'][k][:,a]*(1-t)+r['right'][k][:,a+1]*t
            at = lambda o: right.gather(2, (i[4:-4]+o)[None].expand(3,-1,-1))
            return (at(0)+(at(1)-at(0))*f[4:-4]-r['left'][k][:,4:-4]).abs().mean(0)[seen].mean().item()
        return min(np.arange(-1.5, 1.6, .25), key=error)
    for without,low,high in ((DISAGREEMENTS,0,.1),((),.35,.8)):
        r = SyntheticPairs(24, (96,192), without=without, occluded=False).render(range(24))
        xr = (pixels((96,192))[0]-r['disp']).clamp(0, 190.999)
        spread = np.std([best_shift(r, k) for k in range(24)])
        assert low<=spread<=high, spread # a uniform one has .577

def test_same_index_same_bytes():
    ds = SyntheticPairs(100, (64,128), seed=7)
    whole = ds.render([3,50,9,4,8,77,20])
    for pos,i in ((0,3),(1,50),(6,20)):
        alone = ds.render([i])
        other = ds.render([i,60])
        for k in ('left','right','disp'):
            test_eq(alone[k][0].numpy().tobytes(), whole[k][pos].numpy().tobytes())
            test_eq(other[k][0].numpy().tobytes(), whole[k][pos].numpy().tobytes())
    assert (SyntheticPairs(100, (64,128), seed=8).render([3])['left']-whole['left'][:1]).abs().mean()>.05

def test_workers_do_not_matter():
    from torch.utils.data import DataLoader
    ds = SyntheticPairs(6, (64,128))
    a = [b for b in DataLoader(ds, batch_size=3, num_workers=0)]
    b = [b for b in DataLoader(ds, batch_size=3, num_workers=2)]
    for p,q in zip(a, b): test_eq(p[0].numpy().tobytes(), q[0].numpy().tobytes())

def test_occluded_pixels_can_be_left_out():
    all_,noc = SyntheticPairs(4, (64,128)),SyntheticPairs(4, (64,128), occluded=False)
    va,vn = (d.batch(range(4))[3] for d in (all_,noc))
    assert va.all() and .5<vn.float().mean()<.97 and not (vn & ~va).any()
    test_fail(lambda: all_[4], exc=IndexError)

@pytest.mark.cuda
def test_gpu_makes_the_same_bytes():
    a,b = (SyntheticPairs(8, (64,128), device=d).render(range(8)) for d in ('cpu','cuda'))
    test_eq((255*a['left']).round(), (255*b['left']).round().cpu())
