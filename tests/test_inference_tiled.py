# Generated from nbs/70_inference.tiled.ipynb; edit the notebook, not this file
import math, torch
from fastcore.basics import patch
from torch import nn, Tensor
from stereo_kd.core import check_pair
from stereo_kd.models.base import StereoOutput
import os
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.core import evaluating, normalize
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.models.base import StereoNet
from stereo_kd.deploy.speed import peak_memory
from stereo_kd.models.zoo import create_model, load_model
from stereo_kd.inference.tiled import *

def test_tiles_cover_a_side():
    for length,tile,overlap in ((1500,704,.5),(704,704,.9),(705,704,.5),(3000,352,.3),(1000,100,0.)):
        starts = tile_starts(length, tile, overlap)
        test_eq([starts[0],starts[-1]+tile], [0,length])
        steps = [b-a for a,b in zip(starts, starts[1:])]
        assert all(0<s<=(1-overlap)*tile+1 for s in steps) and max(steps, default=0)-min(steps, default=0)<=1
    test_eq(tile_starts(1000, 100, 0.), list(range(0, 1000, 100)))
    test_eq(tile_starts(1500, 704, .5), [0,265,531,796])

def test_weights_fall_to_inner_borders_only():
    test_eq(tile_weights((8,16), 6, [False]*4), torch.ones(8,16))
    w = tile_weights((40,80), 30)
    test_close([w[20,0],w[20,14],w[20,30],w[20,50],w[20,-1],w[0,55]], [UNSEEN/31,UNSEEN*15/31,1/21,1.,1/21,1/11], eps=1e-6)
    assert (w[20].diff()[:50]>0).all() and (w[20].diff()[60:]<0).all() and (w>0).all()
    assert w[20,29]<.05*w[20,30] # behind the margin a match cannot be outside
    assert (tile_weights((40,80), 300)[20]<=UNSEEN).all() # nothing but guesses
    one = tile_weights((40,80), 30, (False,False,True,False))
    test_eq([one[0,50].item(),one[-1,-1].item()], [1.,1.])

def test_weights_add_up_to_one():
    calls = []
    class Seven(StereoNet):
        answer = 'seven'
        def features(self, image, extras): return [image]
        def cost_volume(self, left, right, extras): return left[-1]
        def aggregation(self, volume, left, right, extras, all_outputs):
            calls.append(tuple(volume.shape))
            extras['seven'] = 7+0*volume[:,0]
            return []
        def disparity(self, answer, size): return answer[:,:size[0],:size[1]]
        def confidence(self, answer, size): return (4*torch.randn(len(answer), *size)).exp()
    class Cocksure(Seven): # wrong at the left border of what it sees, and very sure there
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['seven'] = torch.where(torch.arange(volume.shape[-1])<48, 99., 7.).expand_as(volume[:,0])
            return []
        def confidence(self, answer, size): return torch.where(answer>7, 1e6, 1.)[:,:size[0],:size[1]]
    torch.manual_seed(0)
    net,x = Tiled(Seven(48), (32,96), .5),torch.randn(2,3,70,300)
    tile,places = net.places((70,300))
    test_close(net(x, x.clone()).disparity[-1], torch.full((2,70,300), 7.), eps=1e-4)
    test_eq([tile,len(places),set(calls)], [(32,96),4*6,{(2,3,32,96)}])
    said = Tiled(Cocksure(48), (32,96), .6)(x, x).disparity[-1]
    test_close(said[...,48:], torch.full((2,70,252), 7.), eps=1.)
    test_close(said[...,:30], torch.full((2,70,30), 99.), eps=1e-3) # nothing sees these better
    calls.clear()
    big = torch.zeros(1,3,400,1000) # more tiles, not larger ones
    net(big, big)
    test_eq([set(calls),len(calls)], [{(1,3,32,96)},24*20])
    for size,want in (((20,300),(20,96)), ((70,60),(32,60)), ((20,60),(20,60))):
        test_eq(net.places(size)[0], want)
    for tile,said in (((32,40),'40 px wide, less than the 48 px'), ((0,96),'(0, 96)'), ((32,),'must be (H,W)')):
        test_fail(lambda: Tiled(Seven(48), tile), exc=ValueError, contains=said)
    test_fail(lambda: Tiled(Seven(48), (32,96), 1.), contains='overlap must be in [0,1), got 1.0')

def test_tiles_agree_with_the_whole_image():
    torch.manual_seed(0)
    class Blocks(StereoNet): # the best of 48 shifts, by the absolute difference in a window of 5 px
        answer = 'shift'
        def features(self, image, extras): return [image]
        def cost_volume(self, left, right, extras):
            l,r = left[-1],right[-1]
            off = [(l-nn.functional.pad(r, (d,0))[...,:l.shape[-1]]).abs().mean(1) for d in range(self.max_disp)]
            return nn.functional.avg_pool2d(torch.stack(off, 1), 5, 1, 2)
        def aggregation(self, volume, left, right, extras, all_outputs):
            extras['shift'] = volume.argmin(1).float()
            return []
        def disparity(self, answer, size): return answer[:,:size[0],:size[1]]
    right = torch.randn(1,3,64,320)
    left = torch.cat([right.roll(9, -1)[...,:32,:],right.roll(40, -1)[...,32:,:]], -2)
    net = Blocks(48)
    whole = net(left, right).disparity[-1]
    test_eq(Tiled(net, (64,320))(left, right).disparity[-1], whole)
    tiled = Tiled(net, (64,160), .5)
    test_eq([x for _,x in tiled.places((64,320))[1]], [0,80,160])
    test_eq(tiled(left, right).disparity[-1][...,50:78], whole[...,50:78]) # one tile alone
    inside = slice(50, 318) # all of it, where the match is in the image
    off = (tiled(left, right).disparity[-1]-whole)[...,inside].abs()
    pieces = [net(left[...,s:s+80], right[...,s:s+80]).disparity[-1] for s in (0,80,160,240)]
    cut = (torch.cat(pieces, -1)-whole)[...,inside].abs() # side by side, not blended
    assert off.mean()<.35*cut.mean(), (off.mean(),cut.mean())

def test_confidence_of_the_network_counts():
    torch.manual_seed(0)
    net = create_model('madis', size='tiny', max_disp=48).requires_grad_(False)
    x,y = torch.randn(2,1,3,40,120)
    tiled = Tiled(net, (40,80), .5)
    got = tiled(x, y).disparity[-1]
    outs = [(net(x[...,s:s+80], y[...,s:s+80]),s) for s in (0,40)]
    total,weight = torch.zeros(2,40,120)
    for out,s in outs:
        sure = net.confidence(out.extras['laplace'], (40,80))[0]
        if s>0: sure[:,:48] = sure.min()
        w = tile_weights((40,80), 48, (False,False,s>0,s<40))*sure
        total[:,s:s+80] += w*out.disparity[-1][0]
        weight[:,s:s+80] += w
    test_close(got[0], total/weight, eps=1e-4)
    equal = net.confidence(outs[0][0].extras['laplace'], (40,80))
    assert equal.std()>0

def test_further_maps_are_blended_like_the_disparity():
    torch.manual_seed(0)
    net = create_model('madis', size='tiny', max_disp=48).requires_grad_(False)
    x,y = torch.randn(2,1,3,40,120)
    def twice(n, out, size):
        assert n is net and size==(40,80)
        return 2*out.disparity[-1]
    plain,out = Tiled(net, (40,80), .5)(x, y),Tiled(net, (40,80), .5, dict(twice=twice))(x, y)
    test_eq(out.disparity[-1], plain.disparity[-1])
    test_close(out.extras['twice'], 2*out.disparity[-1], eps=1e-4)
    test_eq((list(out.extras),plain.extras), (['twice'],{}))
