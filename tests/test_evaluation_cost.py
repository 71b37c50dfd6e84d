# Generated from nbs/80_evaluation.cost.ipynb; edit the notebook, not this file
import platform, re, time
from contextlib import contextmanager
from copy import deepcopy
from math import prod
from pathlib import Path
import numpy as np, torch
from fastcore.basics import patch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.utils.flop_counter import FlopCounterMode
from stereo_kd.cli import check_threads
from stereo_kd.core import evaluating
import tempfile
import matplotlib.pyplot as plt
from stereo_kd.core import format_table
from stereo_kd.models.zoo import create_model
from fastcore.test import *
from stereo_kd.models.base import StereoNet
from stereo_kd.models.cost_volume import correlation_volume
from stereo_kd.models.layers import ConvBN, Hourglass2D, MobileV1
import pytest
from stereo_kd.evaluation.cost import *

def test_params_shared_and_buffers():
    conv = nn.Conv2d(3, 8, 3)
    test_eq(count_params(nn.Sequential(conv, nn.BatchNorm2d(8))), 8*3*9+8+2*8)
    test_eq(count_params(nn.ModuleList([conv, conv])), 8*3*9+8)

def test_counted_by_hand():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.down,self.up = ConvBN(3, 8, 3, 2), nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)
            self.head,self.group = nn.Conv2d(4, 4, 3),nn.Conv2d(4, 4, 3, padding=1, groups=2)
        def forward(self, left, right):
            x = self.group(self.up(self.down(left)+self.down(right)))
            return self.head(x) if self.training else x
    net = Net()
    conv,bn,up_true,up_thop,group = 160*27,160*4,20*8*4*9,320*8*9,320*2*9
    test_eq(count_macs(net, (8,10)), 2*conv+up_true+group)
    test_eq(thop_macs(net, (8,10)), (2*(conv+bn)+up_thop+group, count_params(net)-count_params(net.head)))
    test_eq(count_macs(net, (16,20)), 4*count_macs(net, (8,10)))
    assert net.training and not net.down._forward_hooks and next(net.parameters()).device.type=='cpu'

def test_products_and_values():
    class Peek(nn.Module):
        def __init__(self):
            super().__init__()
            self.lin = nn.Linear(6, 5)
        def forward(self, left, right):
            x = self.lin(left)
            if x.sum().item()==0: return x
            return x@right
    net = Peek()
    shapes = [(1,4,6),(1,5,7)]
    test_eq(count_macs(net, shapes=shapes), 4*6*5+4*5*7)
    test_eq(thop_macs(net, shapes=shapes), (4*6*5, 35))
    test_fail(lambda: count_macs(net, shapes=[(1,4,5),(1,5,7)]), contains='mat1 and mat2')

def test_volume_and_tail_cost_nothing():
    class Net(StereoNet):
        def __init__(self):
            super().__init__(48)
            self.conv = nn.Conv2d(3, 4, 1)
        def features(self, image, extras): return [nn.functional.avg_pool2d(self.conv(image), 4)]
        def cost_volume(self, left, right, extras): return correlation_volume(left[-1], right[-1], 12)
        def aggregation(self, volume, left, right, extras, all_outputs): return [volume]
    class Late(Net):
        def disparity(self, scores, size):
            return self.conv(super().disparity(scores, size)[:,None].expand(-1, 3, -1, -1))[:,0]
    pixels = 32*48
    test_eq(count_macs(Net(), (32,48)), 2*12*pixels)
    test_eq(count_macs(Late(), (32,48)), 3*12*pixels)

def test_attention_is_counted_once():
    class Attend(nn.Module):
        def forward(self, q, k): return nn.functional.scaled_dot_product_attention(q, k, k)
    test_eq(count_macs(Attend(), shapes=[(1,2,10,8),(1,2,12,8)]), 2*2*10*12*8)

def test_published_blocks():
    hourglass,maps = Hourglass2D(48),[(1,48,120,160)]
    test_close(count_macs(hourglass, shapes=maps)/1e9, 1.415, eps=5e-4)
    macs,params = thop_macs(hourglass, shapes=maps)
    test_close([macs/1e9, params/1e6], [2.673,0.5236], eps=5e-4)
    feature_1 = nn.Sequential(*(MobileV1(32, 32) for _ in range(3)))
    macs,params = thop_macs(feature_1, shapes=[(1,32,240,320)])
    test_close([macs/1e9, params/1e6], [0.7225,0.0086], eps=5e-5)

def test_published_network():
    net = create_model('psmnet')
    test_close(count_params(net)/1e6, 5.225, eps=5e-4)
    test_close(count_macs(net, (256,512))/1e9, 184.7, eps=0.05)
    test_close(thop_macs(net, (256,512))[0]/1e9, 257.0, eps=0.05)

def test_table_adds_up():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem = ConvBN(3, 4)
            self.blocks = nn.ModuleList([nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)]) # a ModuleList is never called
            self.scale = nn.Parameter(torch.ones(3))
        def forward(self, left, right):
            a,b = (self.blocks[1](self.blocks[0](self.stem(x))).flatten(2) for x in (left,right))
            return a.transpose(1, 2)@b
    net,size = Net(),(4,6)
    rows = {r.pop('name'):r for r in module_table(net, size)}
    test_eq(sorted(rows), ['(own)','blocks','stem','total'])
    test_close(rows['blocks']['macs']*1e9, 2*2*24*16)
    test_close(rows['(own)']['macs']*1e9, 24*24*4)
    test_close(rows['(own)']['params']*1e6, 3)
    test_close(rows['stem']['thop']*1e9, 2*24*(4*27+4*4))
    test_close(
        [rows['total'][k]*s for k,s in (('params',1e6),('macs',1e9),('thop',1e9))],
        [count_params(net), count_macs(net, size), thop_macs(net, size)[0]])
    deep = module_table(net, size, depth=2)
    test_eq([r['name'] for r in deep], ['stem.0','stem.1','blocks.0','blocks.1','(own)','total'])
    test_close(deep[-1]['macs'], rows['total']['macs'])
    test_eq(
        format_table([dict(name='a', x=1.), dict(name='long', x=0.25)]).split('\n'),
        ['name     x','a        1','long  0.25'])

def test_latency_measures_what_it_says():
    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.bn,self.frozen,self.calls = nn.BatchNorm2d(3),nn.BatchNorm2d(3),[]
        def forward(self, left, right):
            modes = self.training,self.bn.training,torch.is_inference_mode_enabled()
            self.calls.append((tuple(left.shape), *modes, torch.get_num_threads(), torch.equal(left, right)))
            time.sleep(0.05 if len(self.calls)<=4 else 0.004)
    net = Spy()
    net.frozen.eval()
    threads = torch.get_num_threads()
    row = latency(net, (6,8), rounds=3, warmup=4, threads=threads+1, batch=2)
    test_eq(net.calls, [((2,3,6,8), False, False, True, threads+1, False)]*7)
    assert 4<=row['ms_median']<40 and row['ms_median']<=row['ms_p90']
    test_eq(list(row), ['ms_median','ms_p90','rounds','size','threads','device'])
    test_eq([row[k] for k in ('rounds','size','threads')], [3,'6x8',threads+1])
    test_eq(row['device'], device_name(torch.device('cpu')))
    test_eq(
        [net.training, net.bn.training, net.frozen.training, torch.get_num_threads()],
        [True,True,False,threads])

def test_latency_leaves_no_trace():
    class Broken(nn.Module):
        def forward(self, left, right): raise RuntimeError('broken on purpose')
    net,threads,state = Broken(),torch.get_num_threads(),torch.get_rng_state()
    test_fail(lambda: latency(net, (4,4), threads=threads+1), contains='on purpose')
    test_eq([net.training, torch.get_num_threads()], [True,threads])
    assert torch.equal(torch.get_rng_state(), state)
    for wrong in (dict(rounds=0), dict(threads=0), dict(batch=0), dict(warmup=-1)):
        test_fail(lambda: latency(net, (4,4), **wrong), contains='at least 1')
    test_fail(lambda: latency(net, (4,4), threads=10**6), contains='threads must be 1 to')
    seen = []
    class Pair(nn.Conv2d):
        def forward(self, left, right):
            seen.append((self.weight.device.type, left.device.type))
            return super().forward(left+right)
    net = Pair(3, 4, 1)
    latency(net, (4,4), rounds=1, warmup=0, device='meta')
    test_eq(seen, [('meta','meta')]) # a copy goes there
    test_eq(net.weight.device.type, 'cpu')

@pytest.mark.cuda
def test_latency_waits_for_the_gpu():
    class Heavy(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(torch.randn(4096, 4096)/64)
        def forward(self, left, right):
            x = self.w
            for _ in range(30): x = x@self.w
            return x
    if torch.cuda.is_available():
        net = Heavy().cuda()
        row = latency(net, (4,4), rounds=5, warmup=3)
        first,last = torch.cuda.Event(enable_timing=True),torch.cuda.Event(enable_timing=True)
        with torch.inference_mode():
            first.record()
            net(None, None)
            last.record()
        torch.cuda.synchronize()
        test_close(row['ms_median']/first.elapsed_time(last), 1, eps=0.3)
        test_eq(row['device'], torch.cuda.get_device_name())

def test_rows_layers_and_files():
    import csv, tempfile
    from stereo_kd.core import check_rows, write_rows
    from stereo_kd.models.zoo import create_model
    test_eq(thop_ops(nn.Conv2d(4, 6, 3, groups=2), torch.zeros(1,6,5,7)), 6*5*7*2*9)
    test_eq(
        [thop_ops(nn.BatchNorm2d(3), torch.zeros(2,3,4,4)), thop_ops(nn.ReLU(), torch.zeros(9))],
        [2*3*16*4,0])
    assert device_name(torch.device('cpu')).strip()
    net = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
    row = costs(net, (32,64), rounds=1, warmup=0)
    test_eq(
        [row['params_m'],row['macs_g'],row['size'],row['rounds']],
        [count_params(net)/1e6,count_macs(net,(32,64))/1e9,'32x64',1])
    assert row['thop_g']>row['macs_g'] and row['ms_median']>0
    test_eq(list(costs(net, (32,64), rounds=0)), ['params_m','macs_g','thop_g','size'])
    check_rows([row]) # in the one schema
    with tempfile.TemporaryDirectory() as d:
        write_rows([row, row|dict(size='again')], f'{d}/t.csv')
        test_eq([r['size'] for r in csv.DictReader(open(f'{d}/t.csv'))], ['32x64','again'])
