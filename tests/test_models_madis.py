# Generated from nbs/34_models.madis.ipynb; edit the notebook, not this file
import math, torch
import torch.nn.functional as F
from fastcore.basics import patch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn, Tensor
from stereo_kd.core import check_file, pick
from stereo_kd.models.base import StereoNet
from stereo_kd.models.vit import Decoder, Encoder, hidden_tokens, init_transformer, patchify, search_the_same
import os
import matplotlib.pyplot as plt
from fastcore.test import *
from pathlib import Path
from tempfile import TemporaryDirectory
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import DISAGREEMENTS, SyntheticPairs
from stereo_kd.evaluation.cost import count_macs, module_table
from stereo_kd.models.base import get_map
from stereo_kd.models.vit import random_visible, unpatchify
import pytest
from stereo_kd.models.madis import *

def test_every_map_is_heard_at_any_size():
    test_eq(len(list(ResidualUnit(8).parameters())), 4)
    torch.manual_seed(0)
    for p,grid in ((16,(3,5)),(8,(2,7))):
        head = DPTHead(12, p, (4,4,8,8), 8).requires_grad_(False)
        maps = list(torch.randn(4,1,12,*grid))
        out = head(maps)
        test_eq(tuple(out.shape), (1,2,p*grid[0],p*grid[1]))
        for k in range(4):
            other = [m+(i==k) for i,m in enumerate(maps)]
            assert (head(other)-out).abs().max()>1e-3, k
    fuse,x = Fusion(8).requires_grad_(False),torch.randn(1,8,5,6)
    enlarged = F.interpolate(fuse.body(fuse.skip(x)), size=(10,12), mode='bilinear', align_corners=True)
    test_close(fuse(x, None, (10,12)), fuse.out(enlarged), eps=1e-5)
    added = fuse.out(fuse.body(fuse.skip(x)+x))
    test_close(fuse(x, x, (10,12)), F.interpolate(added, (10,12), mode='bilinear', align_corners=True))

def test_place_and_scale():
    torch.manual_seed(0)
    net,(x,y) = MaDis('tiny', 96).requires_grad_(False),torch.randn(2,1,3,37,70)
    out = net(x, y)
    laplace = get_map(out, net.answer)
    test_eq([tuple(laplace.shape),tuple(out.disparity[-1].shape),out.aggregation], [(1,2,40,72),(1,37,70),[]])
    test_eq(out.disparity[-1], laplace[:,0,:37,:70])
    assert laplace[:,0].min()>0 and laplace[:,1].abs().max()<3
    for n,c in ((48,2.0794415),(96,2.5),(192,2.5)): # log 8, and half below the bound
        test_close(usual_error(n), c, eps=1e-6)
        test_close(bounded_scale(torch.tensor(raw_scale(c))), torch.tensor(c), eps=1e-5)
    test_close(laplace[:,1], torch.full((1,40,72), 2.5), eps=.2) # fresh weights
    test_close(laplace[:,0], torch.full((1,40,72), 24*.6931472), eps=2.)
    nn.init.zeros_(net.head.last[-1].weight)
    for raw,disp,scale in (((0.,0.),24*.6931472,0.), ((2.,2.),24*2.1269280,6*(1/(1+2.718281828**(-2/3))-.5))):
        net.head.last[-1].bias.data = torch.tensor(raw)
        got = get_map(net(x, y), 'laplace')
        test_close(got[0,:,5,7], torch.tensor([disp,scale]), eps=1e-4)
    test_close(net.confidence(got, (37,70))[0,0,0].log(), -5*scale, eps=1e-4)
    test_close(bounded_scale(torch.tensor([-90.,90.])), torch.tensor([-3.,3.]))
    test_fail(lambda: MaDis('huge'), contains="unknown size 'huge'; known: base, small, tiny")

def test_parameters_in_millions():
    def count(size):
        with torch.device('meta'): net = MaDis(size)
        test_eq(net.decoder.taps, dict(base=(2,5,8,12), small=(2,4,6,8), tiny=(1,2,3,4))[size])
        n = {k:sum(p.numel() for p in m.parameters())/1e6 for k,m in net.named_children()}
        n['blocks'] = sum(p.numel() for p in net.encoder.blocks.parameters())/1e6
        n['answer'] = sum(n[k] for k in ('encoder','embed','decoder','head'))
        return {k:round(v, 2) for k,v in n.items()}
    base = count('base')
    test_eq(
        {k:base[k] for k in ('answer','blocks','embed','decoder','head')},
        dict(answer=219.74, blocks=85.05, embed=.59, decoder=113.44, head=20.07))
    # CroCo's Small, whose head reads 256 more channels, has 139.40
    test_eq([count(s)['answer'] for s in ('small','tiny')], [139.38,1.31])

def test_the_published_work():
    with torch.device('meta'): net = MaDis('base')
    n,products = 22*44,2*12+12+12 # encoder of two views, decoder's own and cross-attention
    inside = products*2*n*n*768
    convolutions,unit = 3*256**2*sum(n*4**k for k in (-1,0,1,2)),2*9*256**2*n//4
    test_close((count_macs(net, (352,704))-inside+convolutions-unit)/1e9, 366.5, eps=.05)

def test_masked_patches_influence_nothing():
    torch.manual_seed(0)
    net,(x,y) = MaDis('tiny').requires_grad_(False),torch.randn(2,2,3,32,64)
    visible = [random_visible(2, 32, .4),random_visible(2, 32, .4)]
    given = tuple(dict(visible=v) for v in visible)
    def stain(image, v): # other pixels where tokens are masked
        hidden = hidden_tokens(v, 32)[...,None].expand(-1, -1, 192).float()
        return image+3*unpatchify(hidden, (32,64), 8)
    a,b = net(x, y, given=given),net(stain(x, visible[0]), stain(y, visible[1]), given=given)
    both = [f'{k}.{v}' for k in ('features','reconstruction') for v in ('left','right')]
    for name in (*both,'cost_volume','laplace'):
        test_eq(get_map(a, name), get_map(b, name))
    assert (get_map(a, 'patches.left')-get_map(b, 'patches.left')).abs().max()>1
    test_eq(get_map(a, 'patches.right'), patchify(y, 8))
    holes = get_map(a, 'features.left').abs().sum(1).flatten(1)==0
    test_eq(holes, hidden_tokens(visible[0], 32))
    whole = tuple(dict(visible=random_visible(2, 32, 0.)) for _ in 'lr') # all tokens given: as without a list
    test_close(net(x, y, given=whole).disparity[-1], net(x, y).disparity[-1], eps=1e-3)
    test_eq(net(x, y, given=whole).extras['reconstruction'], [[],[]])
    assert 'reconstruction' not in net(x, y).extras

def test_the_left_view_asks_the_right_one():
    torch.manual_seed(0)
    net,(x,y,z) = MaDis('tiny').requires_grad_(False),torch.randn(3,1,3,32,64)
    answer = lambda l,r: net(l, r).disparity[-1]
    assert (answer(x, y)-answer(x, z)).abs().max()>.01 and (answer(x, y)-answer(y, x)).abs().max()>.01
    order = []
    hook = net.decoder.register_forward_hook(lambda m,inputs,out: order.append(inputs[:2]))
    both = tuple(dict(visible=random_visible(1, 32, .4)) for _ in 'lr')
    out = net(x, y, given=both)
    hook.remove()
    l,r = (net.tokens(out.features[k], both[k]['visible']) for k in (0,1))
    test_eq([torch.equal(a, b) for a,b in zip((*order[0],*order[1]), (l,r,r,l), strict=True)], [True]*4)
    for block in net.decoder.blocks:
        for p in block.cross.out.parameters(): nn.init.zeros_(p)
    test_eq(answer(x, y), answer(x, z))
    assert (answer(x, y)-answer(z, y)).abs().max()>.01

def test_gradients_of_a_masked_step():
    torch.manual_seed(0)
    net,(x,y) = MaDis('tiny'),torch.randn(2,1,3,32,64)
    given = tuple(dict(visible=random_visible(1, 32, r)) for r in (.4,0.))
    out = net(x, y, given=given)
    test_eq(out.extras['reconstruction'][1], []) # nothing is masked in the right view
    parts = out.disparity[-1],get_map(out, 'laplace')[:,1],get_map(out, 'reconstruction.left').square()
    sum(m.mean() for m in parts).backward()
    test_eq([n for n,p in net.named_parameters() if p.grad is None], [])
    assert net.mask_token.grad.abs().max()>0

def test_pretrained_weights():
    from safetensors.torch import save_file
    torch.manual_seed(0)
    a,b = (MaDis('tiny').requires_grad_(False) for _ in 'ab')
    head = b.head.first.weight.clone()
    with TemporaryDirectory() as d:
        file = f'{d}/a.safetensors'
        save_file(a.state_dict(), file)
        assert load_pretrained(b, file) is b
        theirs,mine = a.state_dict(),b.state_dict()
        test_eq([k for k,v in mine.items() if not k.startswith('head.') and not torch.equal(v, theirs[k])], [])
        test_eq(b.head.first.weight, head)
        save_file({k:v for k,v in a.state_dict().items() if k!='mask_token'}|dict(other=torch.zeros(1)), file)
        said = lambda words, path: test_fail(lambda: load_pretrained(b, path), exc=ValueError, contains=words)
        said('lacks 1 of the', file)
        save_file(a.state_dict()|{'embed.bias': torch.zeros(7)}, file)
        said('embed.bias is (7,) there, (96,) here', file)
        Path(f'{d}/b.pth').write_bytes(b'PK pickled')
        said('b.pth is not a safetensors file', f'{d}/b.pth')
        said('there is no file', f'{d}/c.pth')
        Path(f'{d}/e').symlink_to('/dev/zero') # would be read without end
        said('e is a device or a pipe', f'{d}/e')

def test_a_start_that_matches():
    from stereo_kd.models.zoo import load_model
    from stereo_kd.testing import project_root
    net = load_model(project_root()/'data/starts/madis_tiny.safetensors', 'madis').requires_grad_(False)
    left,right,disp,valid = SyntheticPairs(8, (64,96), 0, 48).batch(range(8))
    own,other = ((net(left, r).disparity[-1]-disp).abs()[valid].mean() for r in (right,right.roll(1, 0)))
    assert own<4.5<8<other, (own, other)

@pytest.mark.slow
def test_training_stays_where_it_begins():
    torch.manual_seed(0)
    net,pairs,seen = MaDis('tiny', 48),SyntheticPairs(32, (48,96), 1, 48),[]
    net.head.register_forward_hook(lambda m,i,o: seen.append(o[:,1].detach().abs().mean()))
    opt = torch.optim.AdamW(net.parameters(), 1e-3, (.9,.95), weight_decay=.05)
    for k in range(12):
        left,right,disp,valid = pairs.batch([4*(k%8)+i for i in range(4)])
        mu,c = get_map(net(left, right), 'laplace').unbind(1)
        opt.zero_grad()
        ((mu-disp).abs()*(-c).exp()+c)[valid].mean().backward()
        opt.step()
    assert max(seen)<7, seen # from a scale of 1 px it is beyond 14
