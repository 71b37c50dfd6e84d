# Generated from nbs/33_models.vit.ipynb; edit the notebook, not this file
import torch
import torch.nn.functional as F
from fastcore.basics import patch
from torch import nn, Tensor
import matplotlib.pyplot as plt
from fastcore.test import *
from stereo_kd.core import denormalize
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.models.vit import *

def test_patches_go_there_and_back():
    image = torch.arange(2*3*16*24.).view(2,3,16,24)
    patches = patchify(image, 8)
    test_eq(tuple(patches.shape), (2,6,192))
    test_eq(patches[1,4].view(3,8,8), image[1,:,8:16,8:16]) # the second row, the second column
    test_eq(unpatchify(patches, (16,24), 8), image)
    test_fail(lambda: patchify(image, 7), contains='(2, 3, 16, 24)')

def test_only_the_difference_of_positions_counts():
    torch.manual_seed(0)
    q,k = torch.randn(2,1,1,1,16)
    def product(p, r): # of a query at p and a key at r
        p,r = (rope_tables(torch.tensor([[v]]), 16) for v in (p,r))
        return (rotate(q, p)*rotate(k, r)).sum().item()
    test_close(product((2,3), (4,9)), product((12,8), (14,14)), eps=1e-5)
    test_close(product((2,3), (2,3)), (q*k).sum().item(), eps=1e-5)
    others = [product((2,3), p) for p in ((4,3),(2,9),(0,9),(4,-3))] # another row, column, or side
    assert min(abs(product((2,3), (4,9))-o) for o in others)>.05
    there = rope_tables(torch.tensor([[(5,7)]]), 16)
    test_close(rotate(q, there).norm(), q.norm(), eps=1e-5)
    test_close(rotate(rotate(q, there), turned_back(there)), q, eps=1e-5)
    test_eq(rotate(q.half(), rope_tables(torch.tensor([[(5,7)]]), 16)).dtype, torch.half)
    test_fail(lambda: rope_tables(torch.zeros(1,1,2), 18), contains='multiple of 4 numbers, got 18')

def test_attention_is_what_its_weights_say():
    torch.manual_seed(0)
    layer = Attention(32, 4).requires_grad_(False)
    x,y = torch.randn(2,6,32),torch.randn(2,8,32)
    rx,ry = rope_tables(token_positions((2,3))[None], 8),rope_tables(token_positions((2,4))[None], 8)
    for memory,rope in ((None,None),(y,ry)):
        w = layer.weights(x, rx, memory, rope)
        test_close(w.sum(-1), torch.ones(2,4,6), eps=1e-5)
        v = layer.split(x, rx, memory, rope)[2]
        test_close(layer(x, rx, memory, rope), layer.out((w@v).transpose(1, 2).flatten(2)), eps=1e-5)
    test_eq(tuple(layer.weights(x, rx, y, ry).shape), (2,4,6,8))
    a = layer.weights(x[:1], rx)
    far = rope_tables(token_positions((2,3))[None]+torch.tensor([30,50]), 8)
    test_close(layer.weights(x[:1], far), a, eps=1e-4) # the whole view moved
    test_fail(lambda: Attention(36, 4), contains='width 36 must be a multiple of 4 times the heads, 4')

def test_turned_values_bring_the_offset():
    torch.manual_seed(0)
    layer = Attention(32, 4, turned=True).requires_grad_(False)
    nn.init.eye_(layer.out.weight)
    nn.init.zeros_(layer.out.bias)
    def at(*places): return rope_tables(torch.tensor([places]), 8)
    x,one = torch.randn(1,1,32),torch.randn(1,1,32)
    v = layer.key_value(one)[...,32:].view(1,1,4,8).transpose(1, 2) # all there is to get
    for p,q in (((3,5),(3,2)), ((0,0),(4,7))):
        got = layer(x, at(p), one, at(q)).view(1,1,4,8).transpose(1, 2)
        offset = (q[0]-p[0],q[1]-p[1])
        test_close(got, rotate(v, at(offset)), eps=1e-5)
        assert (got-v).abs().max()>.1
    y,grid = torch.randn(1,6,32),token_positions((2,3))
    near,far = (layer(y, rope_tables((grid+g)[None], 8)) for g in (torch.tensor([0,0]),torch.tensor([30,50])))
    test_close(near, far, eps=1e-4) # the whole view moved
    test_close(layer(x, at((2,2)), one, at((2,2))), Attention.forward(layer, x, at((9,9)), one, at((9,9))), eps=1e-5)

def test_blocks_add_to_what_they_get():
    torch.manual_seed(0)
    x,y = torch.randn(2,1,6,32)
    rope = rope_tables(token_positions((2,3))[None], 8)
    a,b = (block(32, 4).requires_grad_(False) for block in (EncoderBlock,DecoderBlock))
    assert (a(x, rope)-x).abs().max()>.01
    for layer in (a.attention.out, a.mlp[-1], b.attention.out, b.mlp[-1]):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    test_eq(a(x, rope), x)
    test_close(b(x, y, rope), x+b.cross(b.norm2(x), rope, b.norm_memory(y), rope), eps=1e-6)
    scaled,turned = ((b(x, y, rope)-b(x, z, rope)).abs().max() for z in (2*y+1,y.flip(1)))
    assert scaled<1e-4<turned # y is normalised

def test_exactly_so_many_tokens_are_masked():
    g = torch.Generator().manual_seed(0)
    visible = random_visible(64, 50, .4, g)
    test_eq(tuple(visible.shape), (64,30))
    hidden = hidden_tokens(visible, 50)
    test_eq(hidden.sum(1).unique().tolist(), [20])
    assert not hidden.gather(1, visible).any() and (visible.diff(dim=1)>0).all()
    share = hidden.float().mean(0) # every token is as likely as any other: 0.4, standard deviation .06
    assert share.min()>.15 and share.max()<.65 and len(visible.unique(dim=0))==64
    test_eq(random_visible(2, 5, 0.), torch.arange(5).expand(2,5))
    test_eq(keep_tokens(torch.arange(50.)[None,:,None], visible)[:,:,0].long(), visible)
    test_fail(lambda: random_visible(1, 4, 1.), contains='got 1.0')

def test_masked_pixels_do_not_reach_the_encoder():
    torch.manual_seed(0)
    net,image = Encoder(32, 2, 4, 8).eval(),torch.randn(2,3,24,40)
    visible = random_visible(2, 15, .4)
    with torch.no_grad():
        tokens = net(image, visible)
        test_eq(tuple(tokens.shape), (2,9,32))
        hidden = hidden_tokens(visible, 15).float().view(2,1,3,5).repeat_interleave(8, 2).repeat_interleave(8, 3)
        test_eq(net(image+5*hidden, visible), tokens)
        assert (net(image+5*(1-hidden), visible)-tokens).abs().max()>.01
        test_close(net(image, random_visible(2, 15, 0.)), net(image), eps=1e-5)
        (_,whole),(_,part) = net.embed(image),net.embed(image, visible)
        for b in range(2): test_eq(part[:,b,0], whole[:,0,0,visible[b]]) # each at its own place
        one = net(image, visible.new_tensor([[7],[7]])) # a token alone: its position does not matter
        test_close(one, net(image[...,8:16,16:24]), eps=1e-5)
        assert (net(image.flip(-1))-net(image).flip(1)).abs().max()>.01

def test_the_decoder_reads_memory_and_keeps_its_place():
    torch.manual_seed(0)
    net = Decoder(32, 3, 4, (1,3)).requires_grad_(False)
    x,y = torch.randn(2,1,12,32)
    first,last = net(x, y, (3,4))
    test_eq([tuple(first.shape),tuple(last.shape)], [(1,12,32)]*2)
    test_close(last.mean(-1), torch.zeros(1,12), eps=1e-5) # normalised
    assert (net(x, y.flip(1), (3,4))[1]-last).abs().max()>.01 and (net(y, x, (3,4))[1]-last).abs().max()>.1
    for block in net.blocks: # deaf to the other view
        for p in block.cross.out.parameters(): nn.init.zeros_(p)
    test_eq(torch.stack(net(x, y, (3,4))), torch.stack(net(x, y.flip(1), (3,4))))
    for taps in ((1,2),(),(0,3),(3,1)): test_fail(lambda: Decoder(32, 3, 4, taps), contains='to the depth, 3')

def test_a_search_for_the_same_finds_it():
    torch.manual_seed(0)
    grid = (8,16)
    x = torch.randn(1,128,96)
    moved = x.view(1,*grid,96).roll(-2, 2).flatten(1, 2)     # what was at column 5 is at column 3
    match = torch.arange(128).view(grid).roll(2, 1).flatten() # where each token is in `moved`
    rope = rope_tables(token_positions(grid)[None], 24)
    def found(decoder): # share of tokens and heads that look at the match most
        b = decoder.blocks[0]
        w = b.cross.weights(b.norm2(x), rope, b.norm_memory(moved), rope)
        inside = torch.arange(128)%16>=2
        return (w.argmax(-1)==match)[...,inside].float().mean().item()
    decoder = init_transformer(Decoder(96, 1, 4, (1,))).requires_grad_(False)
    by_chance = found(decoder)
    print(f'{by_chance:.2f} at first, {found(search_the_same(decoder)):.2f} as a search')
    assert by_chance<.05<.3<found(decoder)

def test_the_spread_of_fresh_weights():
    torch.manual_seed(0)
    net = init_transformer(Encoder(96, 1, 4, 8)).requires_grad_(False)
    for weight,fans in ((net.blocks[0].mlp[0].weight, 96+384), (net.patches.weight, 96+192)):
        test_close(weight.std()/(2/fans)**.5, 1., eps=.03)
    test_eq(net.blocks[0].mlp[0].bias.abs().max().item(), 0.)

def test_distances_of_known_attention():
    torch.manual_seed(0)
    net,image = Encoder(32, 2, 4, 8).requires_grad_(False),torch.randn(2,3,16,32)
    at = token_positions((2,4)).float()*8
    everywhere = torch.cdist(at, at).mean()
    nn.init.zeros_(net.blocks[0].attention.query.weight) # no question: all answers count alike
    nn.init.zeros_(net.blocks[0].attention.query.bias)
    found = attention_distance(net, image)
    test_eq(tuple(found.shape), (2,4))
    test_close(found[0], everywhere.expand(4), eps=1e-4)
    keys = net.blocks[1].attention # one constant for queries and keys: only the rotation tells tokens apart
    for layer in (keys.query,keys.key_value):
        nn.init.zeros_(layer.weight)
        nn.init.constant_(layer.bias, 6.)
    assert attention_distance(net, image)[1].max()<everywhere/3
