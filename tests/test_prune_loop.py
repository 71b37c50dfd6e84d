# Generated from nbs/51_prune.loop.ipynb; edit the notebook, not this file
import math, torch, torch_pruning as tp
from contextlib import contextmanager
from copy import deepcopy
from itertools import chain
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from stereo_kd.core import keep_modes
from stereo_kd.models.base import answer_maps, check_network
from stereo_kd.models.layers3d import weights_channels_last
from stereo_kd.models.widths import apply_widths, widths
from stereo_kd.prune.importance import is_depthwise, GroupL2Importance
import matplotlib.pyplot as plt
from fastcore.test import *
from functools import partial
from stereo_kd.evaluation.cost import count_macs, count_params, latency
from stereo_kd.deploy.engine import Engine
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.layers import ConvBN
from stereo_kd.models.zoo import create_model
from stereo_kd.prune.loop import *

def test_widths_of_both_readings():
    steps = lambda width, **kw: [kept_width(width, k, **kw) for k in range(6)]
    test_eq(steps(100, round_to=1), [100,90,81,72,65,59])
    test_eq(steps(100, of='original', round_to=1), [100,90,80,70,60,50])
    test_eq(steps(96), [96,88,80,72,64,56])
    test_eq(steps(32), [32,32,24,24,24,16]) # the first step of 32 is made up for later
    test_eq(steps(16, ratio=.19, of='original'), [16,16,8,8,8,8])
    test_eq(steps(6), [6]*6)
    test_eq(steps(9), [9,8,8,8,8,8])
    test_eq(kept_width(2, 9, .5, round_to=1), 1)
    test_fail(lambda: kept_width(8, of='rest'), contains="got 'rest'")
    test_fail(lambda: kept_width(8, ratio=1.), contains='ratio must be in [0,1)')

def test_channels_compete_across_groups():
    a,b = torch.tensor([1.,2.,3.,6.])*100,torch.tensor([.9,1.,1.,1.1]) # over their means: 1/3 to 2, and .9 to 1.1
    test_eq(widths_across(dict(a=a, b=b), 5, 1), dict(a=2, b=3)) # the three smallest are 1/3 and 2/3 of a, .9 of b
    test_eq(widths_across(dict(a=a, b=b), 2, 1), dict(a=1, b=1)) # 2, and 1.1
    test_eq(widths_across(dict(a=a, b=b), 1, 1), dict(a=1, b=1)) # never none
    test_eq(widths_across(dict(a=a, b=b), 5, 2), dict(a=2, b=4))
    test_eq(widths_across(dict(a=torch.zeros(3), b=b), 4, 8), dict(a=3, b=4))

def test_groups_respect_disparities():
    small,tiny = dict(max_disp=48, stem=8, width=16),dict(max_disp=48, blocks=(1,1,1,1), hourglasses=1)
    free,fixed = (
        set(pruning_groups(create_model('dtpnet', cost_volume=c, **small)))
        for c in ('correlation','c2d'))
    test_eq([free-fixed,fixed-free], [{'match.0','mix.2.0'},set()])
    assert 'score' not in free and 'mix.0.0' in free
    summed,kept = (
        set(pruning_groups(create_model('tsnnet_teacher', cost_volume=c, **tiny)))
        for c in ('correlation','interlaced'))
    test_eq([summed-kept,kept-summed], [{'match.3.0'},{'volume.right','volume.net.2.0'}])
    # not its output
    test_eq({n for n in kept if n.startswith('coarse.net.1')}, {'coarse.net.1.body.0.0','coarse.net.1.body.1.0'})
    net = create_model('dtpnet', **small)
    net.extra = nn.Conv2d(3, 3, 1)
    test_fail(lambda: trace(net), contains='no output depends on extra')
    net.matching = 'maybe'
    test_fail(lambda: trace(net), contains="got 'maybe'")

def test_what_cannot_be_followed_is_refused():
    class Net(StereoNet):
        "A correlation of features that one layer or operation in the middle has touched"
        matching = 'free'
        def __init__(self, middle):
            super().__init__(48)
            self.first,self.middle,self.last = nn.Conv2d(3, 8, 4, 4),middle,nn.Conv2d(8, 8, 1)
        def features(self, image, extras): return [self.last(self.middle(self.first(image)))]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    class Do(nn.Module):
        def __init__(self, f):
            super().__init__()
            self.f = f
        def forward(self, x): return self.f(x)
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.Linear(8, 24)
        def forward(self, x):
            tokens = x.flatten(2).transpose(1,2)
            q,k,v = (t.flatten(-2) for t in self.qkv(tokens).unflatten(-1, (3,8,1)).unbind(-3))
            return nn.functional.scaled_dot_product_attention(q, k, v).transpose(1,2).unflatten(2, x.shape[2:])
    class Shifted(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1,8,1,1))
        def forward(self, x): return x+self.token
    test_fail(lambda: prune_step(nn.Conv2d(3, 8, 1)), exc=ValueError, contains='net must be a StereoNet, got Conv2d')
    refused = {
        'middle.1 (LayerNorm)': nn.Sequential(
            nn.ReLU(), nn.LayerNorm(16)), 'middle (GroupNorm)': nn.GroupNorm(2, 8),
        'middle (MultiheadAttention)': nn.MultiheadAttention(8, 2), 'middle (Shifted)': Shifted(),
        'splits channels (Split': Do(lambda x: torch.cat(x.split([2,6], 1)[::-1], 1)),
        'splits channels (Slice': Do(lambda x: torch.cat([x[:,4:],x[:,:4]], 1)),
        'multiplies maps (ScaledDotProduct': Attend()}
    for words,middle in refused.items():
        test_fail(lambda: prune_step(Net(middle), .3), exc=ValueError, contains=words)
    test_fail(lambda: prune_step(create_model('acvnet', max_disp=48, width=8, blocks=(1,1,1,1)), .3), exc=ValueError,
        contains='multiplies maps (ScaledDotProduct')
    for middle in (nn.Identity(), nn.BatchNorm2d(8), Do(lambda x: x[...,::2,1:]), Do(lambda x: x[:,:8]*2)): # fine
        assert 'first' in pruning_groups(Net(middle))

def test_across_keeps_as_many_channels():
    torch.manual_seed(0)
    make = lambda: create_model('dtpnet', max_disp=48, stem=16, width=32)
    within,across = make(),make()
    across.load_state_dict(within.state_dict())
    idle = across.hourglass.down1.body[0] # half of its channels write next to nothing
    for n in (within,across): n.hourglass.down1.body[0][0].weight.data[::2] *= 1e-3
    before = widths(across)
    a,b = (prune_step(n, .3, round_to=1, ranking=r) for n,r in ((within,'within'),(across,'across')))
    test_eq([a['channels_before'],a['groups']], [b['channels_before'],b['groups']])
    test_close(b['channels'], a['channels'], eps=.01*a['channels'])
    left = lambda n: n.hourglass.down1.body[0][0].out_channels/before['hourglass.down1.body.0.0'][1]
    assert left(within)>.65 and left(across)<.55, (left(within), left(across))
    x,y = torch.randn(2,2,3,37,65)
    assert across.eval()(x, y).disparity[-1].isfinite().all()
    test_fail(lambda: prune_step(make(), ranking='global'), contains="'within' or 'across', got 'global'")

def test_silent_channels_dtpnet_c2d():
    for round_to in (1,8):
        torch.manual_seed(0)
        net = create_model('dtpnet', max_disp=96, cost_volume='c2d', stem=24, width=48, hidden=40).double()
        r = check_pruning(net, ratio=.4, round_to=round_to)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>200 and not r['left'], r

def test_silent_channels_dtpnet_correlation():
    for round_to in (1,8):
        torch.manual_seed(0)
        net = create_model('dtpnet', max_disp=96, stem=24, width=48, hidden=40).double()
        r = check_pruning(net, ratio=.4, round_to=round_to)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>200 and not r['left'], r

def test_silent_channels_of_the_settings():
    from stereo_kd.models.dtpnet import SETTINGS
    small = dict(max_disp=48, stem=8, width=16)
    for kw in (SETTINGS[2]|dict(blocks=(1,1,1,1), hourglasses=2, spp=True), SETTINGS[3]|dict(hourglasses=0, spp=True)):
        torch.manual_seed(0)
        r = check_pruning(create_model('dtpnet', **small|kw).double(), ratio=.4, round_to=1)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>50 and not r['left'], (kw, r)

def test_silent_channels_dtpnet_lite():
    for round_to in (1,8):
        torch.manual_seed(0)
        net = create_model('dtpnet_lite', max_disp=96).double()
        r = check_pruning(net, ratio=.4, round_to=round_to)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>90 and not r['left'], r

def test_silent_channels_tsnnet():
    for name,kw in (
        ('tsnnet_teacher',dict(hourglasses=2, blocks=(1,2,1,1))),
        ('tsnnet_teacher',dict(cost_volume='cosine', skip=True, hourglasses=1, blocks=(1,1,1,1))),
        ('tsnnet_student',{}), ('tsnnet_naive',{})):
        torch.manual_seed(0)
        net = create_model(name, max_disp=96, **kw).double()
        r = check_pruning(net, ratio=.4)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>300 and not r['left'], (name, r)

def test_silent_channels_psmnet():
    for round_to in (1,8):
        torch.manual_seed(0)
        net = create_model('psmnet', max_disp=48, width=16, blocks=(1,2,1,1)).double()
        r = check_pruning(net, ratio=.4, round_to=round_to)
        assert r['change']<=1e-5 and r['removed']==r['silenced']>150 and not r['left'], r

def test_silent_channels_gwcnet_and_dsnet():
    small = dict(max_disp=48, blocks=(1,2,1,1))
    for name,kw in (('gwcnet_g',dict(width=16)), ('gwcnet_gc',dict(width=16)), ('dsnet',dict(width=8, features=16)),
                    ('dsnet',dict(width=8, features=16, attention=False))):
        for round_to in (1,8):
            torch.manual_seed(0)
            net = create_model(name, **small, **kw).double()
            r = check_pruning(net, ratio=.4, round_to=round_to)
            assert r['change']<=1e-9 and r['removed']==r['silenced']>90 and not r['left'], (name, r)
            test_eq(net.groups, 20)
    net = create_model('dsnet', **small, width=8, features=16).double()
    before = widths(net)
    prune_step(net, .5, round_to=1)
    after = widths(net)
    cut = {n.split('.')[0] for n in after if after[n]!=before[n]}
    test_eq(cut, {'trunk','attention','stem','hourglasses','heads'})
    for n,w in after.items(): # the parts of the volume stay
        if '.patches.' in n: test_eq(w, before[n])
    test_eq([after[f'trunk.layer{i}.0.body.1.0'][1] for i in (2,3,4)], [32,64,64]) # and what is compared

def test_the_check_sees_a_wrong_graph():
    from unittest import mock
    from stereo_kd.prune import loop
    def change():
        torch.manual_seed(0)
        return loop.check_pruning(
            create_model('dtpnet', max_disp=96, stem=24, width=48, hidden=40).double(), ratio=.4,
            round_to=1)['change']
    assert change()<=1e-5
    with mock.patch.object(loop, '_held', lambda anchor, x: torch.zeros_like(x)): wrong = change()
    assert wrong>1e-3, wrong

def test_pruned_networks_work():
    cases = dict(
        dtpnet=dict(), dtpnet_lite=dict(), tsnnet_teacher=dict(hourglasses=1, blocks=(1,1,1,1)),
        tsnnet_student={}, tsnnet_naive={}, psmnet=dict(width=16, blocks=(1,1,1,1)),
        gwcnet_gc=dict(width=16, blocks=(1,1,1,1)), dsnet=dict(features=16, blocks=(1,1,1,1)))
    for name,kw in cases.items():
        torch.manual_seed(0)
        net = create_model(name, max_disp=48, **kw).train()
        x,y = torch.randn(2,2,3,37,65)
        before = widths(net)
        bins = [m.out_channels for m in net.bins()]
        prune_step(net, .3)
        after = widths(net)
        test_eq([m.out_channels for m in net.bins()], bins)
        assert net.training
        assert all(w[1]%8==0 for n,w in after.items() if len(w)==3 and w[1]!=before[n][1])
        loss = sum((s*torch.randn_like(s)).mean() for s in net(x, y, upto='aggregation').aggregation)
        loss.backward()
        opt = torch.optim.SGD(net.parameters(), .1)
        old = [p.clone() for p in net.parameters()]
        opt.step()
        assert all(p.grad is not None and not p.equal(q) for p,q in zip(net.parameters(), old) if p.dim()>1), name
        fresh = apply_widths(create_model(name, max_disp=48, **kw), after)
        fresh.load_state_dict(net.state_dict())
        with torch.no_grad(): test_eq(fresh.eval()(x, y).disparity[-1], net.eval()(x, y).disparity[-1])

def test_modes_frozen_parameters_and_layout_stay():
    torch.manual_seed(0)
    net = create_model('dtpnet', max_disp=48, stem=16, width=32).train()
    net.mix.eval()
    net.extract.layer2[0].shortcut[0].weight.requires_grad_(False)
    net.to(memory_format=torch.channels_last)
    modes = {k:m.training for k,m in net.named_modules()}
    n = net.extract.layer2[0].shortcut[0].out_channels
    with torch.no_grad(): prune_step(net, .5) # a caller without gradients does not matter
    test_eq({k:m.training for k,m in net.named_modules()}, modes)
    assert net.extract.layer2[0].shortcut[0].out_channels<n
    test_eq([k for k,p in net.named_parameters() if not p.requires_grad], ['extract.layer2.0.shortcut.0.weight'])
    assert net.hourglass.up1[0].weight.shape[0]<24 and net.hourglass.up1[0].weight.is_contiguous(
        memory_format=torch.channels_last)
    net = weights_channels_last(create_model('dsnet', max_disp=48, width=8, features=16, blocks=(1,1,1,1)))
    prune_step(net, .5)
    assert net.stem.reduce[1][0].weight.shape[1]<16
    assert net.stem.reduce[0][0].weight.is_contiguous(memory_format=torch.channels_last_3d)

def test_rounding_does_not_accumulate():
    make = lambda: create_model('dtpnet', max_disp=48, stem=32, width=32)
    net,once,alone = make(),make(),make()
    original = widths(net)
    for k in range(1,4):
        prune_step(net, .1, step=k, original=original)
        prune_step(alone, .1)
    prune_step(once, .1, step=3)
    test_eq(widths(net), widths(once))
    test_eq([n.extract.stem[0].body[2][0].out_channels for n in (net,alone)], [24,32])
    test_fail(lambda: prune_step(make(), original={'a':[1,2,1]}), contains='belongs to another network')

def test_recalibration_is_a_plain_average():
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = ConvBN(3, 4, 1)
        def features(self, image, extras): return [self.conv(image)]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    torch.manual_seed(0)
    net = Net().eval()
    weights = [p.clone() for p in net.parameters()]
    net.conv[1].running_mean.fill_(9.)
    net.conv[1].running_var.fill_(9.)
    batches = [(torch.randn(2,3,16,32)*k, torch.randn(2,3,16,32)+k, 'disparity') for k in (1,2,3)]
    recalibrate(net, batches)
    with torch.no_grad(): maps = [net.conv[0](image) for b in batches for image in b[:2]]
    test_close(net.conv[1].running_mean, torch.stack([m.mean((0,2,3)) for m in maps]).mean(0), eps=1e-5)
    test_close(net.conv[1].running_var, torch.stack([m.var((0,2,3)) for m in maps]).mean(0), eps=1e-4)
    test_eq([net.training,net.conv[1].training,net.conv[1].momentum], [False,False,.1])
    for p,q in zip(net.parameters(), weights, strict=True): test_eq(p.data, q.data)
    test_fail(lambda: recalibrate(net, []), contains='at least one batch')
    assert net.conv[1].running_mean.abs().sum()>0 # nothing was reset

def test_stop_rules():
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    macs = partial(count_macs, size=(32,64))
    rules = [below(m, .9*m(net)) for m in (count_params,macs)]
    test_eq([r(net) for r in rules], [False]*2)
    prune_step(net, .3, round_to=1)
    test_eq([r(net) for r in rules], [True]*2)
    def ms(net): return latency(Engine(deepcopy(net), 'folded'), (32,64), 1, 0)['ms_median']
    test_eq([below(ms, limit)(net) for limit in (1e5,0)], [True,False])

def test_loop_order_rows_and_stop():
    torch.manual_seed(0)
    make = lambda: create_model('dtpnet', max_disp=48, stem=16, width=32)
    net,calls = make().eval(),[]
    whole = sum(p.numel() for p in net.parameters())
    original = widths(net)
    batches = [tuple(torch.randn(2,1,3,32,64))]
    def finetune(net, step):
        calls.append((step, net.mix[0][1].num_batches_tracked.item()))
        net.mix[0][1].num_batches_tracked += 100
        return dict(epe=step/10)
    rows = prune_loop(net, 3, .2, finetune, batches)
    test_eq(calls, [(k,1) for k in (1,2,3)]) # recalibrated before each fine-tuning
    test_eq([(r['step'],r['epe']) for r in rows], [(1,.1),(2,.2),(3,.3)])
    test_eq(rows[-1]['kept'], sum(p.numel() for p in net.parameters())/whole)
    assert rows[0]['kept']>rows[1]['kept']>rows[2]['kept']
    other = make()
    first = prune_loop(other, 1, .2)
    rest = prune_loop(other, 3, .2, done=1, original=original) # killed and taken up again
    test_eq(widths(other), widths(net))
    test_eq([r['kept'] for r in first+rest], [r['kept'] for r in rows])
    other = make()
    test_eq(
        len(prune_loop(other, 9, .2, stop=below(count_params, .6*count_params(other)))), 1
        +sum(r['kept']>.6 for r in rows))

def test_kept_parameters_of_both_readings():
    kept = {}
    for of in ('remaining','original'):
        net = create_model('dtpnet', cost_volume='c2d')
        report = prune_step(net, of=of, round_to=1, step=5)
        kept[of] = report['params']/report['params_before']
        test_eq(
            [net.score.out_channels,net.mix[-1][0].out_channels,net.hourglass.up1[0].out_channels],
            [192,48,48])
    test_close(kept['remaining'], .39, eps=.015)
    test_close(kept['original'], .30, eps=.015)

def test_ratio_for_a_wanted_size():
    make = lambda: create_model('dtpnet', max_disp=48, stem=16, width=32)
    net = make()
    before = {k:v.clone() for k,v in net.state_dict().items()}
    kept = prune_loop(make(), 3, ratio_for(net, .6, 3, 'original', 1), of='original', round_to=1)[-1]['kept']
    test_close(kept, .6, eps=.02)
    ratio = ratio_for(net, .6, 3, round_to=1, ranking='across')
    once = make()
    once.load_state_dict(net.state_dict())
    whole = count_params(once)
    test_close(prune_step(once, ratio, step=3, round_to=1, ranking='across')['params']/whole, .6, eps=.02)
    for k,v in net.state_dict().items(): test_eq(v, before[k])
    test_fail(lambda: ratio_for(net, .01, 3), contains='keep=0.01 is out of reach: 3 steps leave at least')

def test_the_smallest_ratio_below_a_budget():
    make = lambda: create_model('dtpnet', max_disp=48, stem=16, width=32)
    net = make()
    before,whole = {k:v.clone() for k,v in net.state_dict().items()},count_params(net)
    seen = []
    def measure(net):
        seen.append(count_params(net))
        return seen[-1]
    for steps,of in ((1,'remaining'),(3,'remaining'),(3,'original')):
        seen.clear()
        ratio = ratio_below(net, measure, .5*whole, steps, of=of, round_to=1)
        test_eq(len(seen), 8)
        def left(r):
            copy = make()
            copy.load_state_dict(net.state_dict())
            return prune_step(copy, r, of, 1, steps)['params']
        top = .99 if of=='remaining' else .99/steps
        assert left(ratio)<=.5*whole<left(ratio-top/64), (ratio,left(ratio)/whole) # one halving less is above the budget
    for k,v in net.state_dict().items(): test_eq(v, before[k])
    test_eq(ratio_below(net, measure, whole), 0.)
    test_fail(lambda: ratio_below(net, measure, 10), exc=ValueError, contains='limit=10 is out of reach: 1 steps leave at least')
