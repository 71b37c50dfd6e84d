# Generated from nbs/37_models.import_weights.ipynb; edit the notebook, not this file
import torch
from safetensors.torch import load_file
from torch import nn, Tensor
from stereo_kd.core import check_file, pick
from stereo_kd.models.acvnet import ACVNet
from stereo_kd.models.gwcnet import gwcnet_g, gwcnet_gc
from stereo_kd.models.mobilestereonet import MobileStereoNet2D
from stereo_kd.models.psmnet import PSMNet
import tempfile, torch.nn.functional as F
from fastcore.test import *
from pathlib import Path
from stereo_kd.models.cost_volume import concat_volume, groupwise_volume
from stereo_kd.models.import_weights import *

def test_published_files_give_the_same_numbers():
    # the four networks under their published names, made of plain layers
    D = 12 # disparities at H/4
    def cb(i, o, k=3, s=1, d=1, g=1, n=2, bias=False):
        conv,norm = {2:(nn.Conv2d,nn.BatchNorm2d), 3:(nn.Conv3d,nn.BatchNorm3d)}[n]
        return nn.Sequential(conv(i, o, k, s, d*(k//2), d, g, bias), norm(o))
    def cbr(*a, **k): return nn.Sequential(cb(*a, **k), nn.ReLU())
    def up(i, o, n): return nn.Sequential(
        (nn.ConvTranspose2d if n==2 else nn.ConvTranspose3d)(i, o, 3, 2, 1, 1, bias=False),
        (nn.BatchNorm2d if n==2 else nn.BatchNorm3d)(o))
    class Block(nn.Module):
        def __init__(self, i, o, s, d, mobile):
            super().__init__()
            def dws(a, b, s): return [*cb(a, a, 3, s, d, a), nn.ReLU6(), *cb(a, b, 1)]
            self.conv1 = nn.Sequential(*dws(i, o, s), nn.ReLU6()) if mobile else cbr(i, o, 3, s, d)
            self.conv2 = nn.Sequential(*dws(o, o, 1)) if mobile else cb(o, o, 3, 1, d)
            self.downsample = cb(i, o, 1, s) if s>1 or i!=o else None
        def forward(self, x): return self.conv2(self.conv1(x))+(self.downsample(x) if self.downsample else x)
    class V2(nn.Module):
        def __init__(self, i, o, s, e):
            super().__init__()
            self.conv,self.same = nn.Sequential(*cb(i, e*i, 1), nn.ReLU6(), *cb(e*i, e*i, 3, s, 1, e*i), nn.ReLU6(), *cb(e*i, o, 1)),s==1 and i==o
        def forward(self, x): return self.conv(x)+x if self.same else self.conv(x)
    class Features(nn.Module):
        def __init__(self, c, last=0, spp=False, mobile=False):
            super().__init__()
            first = [V2(3, c, 2, 3), V2(c, c, 1, 3), V2(c, c, 1, 3)] if mobile else [cb(3, c, 3, 2), cb(c, c), cb(c, c)]
            self.firstconv = nn.Sequential(*[m for f in first for m in (f,nn.ReLU())])
            for k,(i,o,s,d) in enumerate(((c,c,1,1), (c,2*c,2,1), (2*c,4*c,1,1), (4*c,4*c,1,2)), 1):
                setattr(self, f'layer{k}', nn.Sequential(Block(i, o, s, d, mobile), Block(o, o, 1, d, mobile)))
            if spp:
                for k in range(4): setattr(self, f'branch{k+1}', nn.Sequential(nn.AvgPool2d((1,1)), cb(4*c, c, 1), nn.ReLU()))
            if last: self.lastconv = nn.Sequential(cb(10*c, 4*c), nn.ReLU(), nn.Conv2d(4*c, last, 1, bias=False))
            self.spp,self.last = spp,last
        def forward(self, x):
            l2 = self.layer2(self.layer1(self.firstconv(x)))
            l3 = self.layer3(l2)
            l4 = self.layer4(l3)
            joined = torch.cat([l2,l3,l4], 1)
            if self.spp:
                pool = lambda k: F.interpolate(getattr(self, f'branch{k}')[1:](F.avg_pool2d(l4, [min(2**(7-k), n) for n in l4.shape[-2:]])),
                                               size=l4.shape[-2:], mode='bilinear', align_corners=False)
                joined = torch.cat([l2,l4,*(pool(k) for k in (4,3,2,1))], 1)
            return joined,self.lastconv(joined) if self.last else None
    class Windows(nn.Module):
        def __init__(self, c):
            super().__init__()
            self.qkv_3d,self.final1x1,self.heads = nn.Linear(c, 3*c),nn.Conv3d(c, c, 1),c//8
        def forward(self, x): # one window of (D,4,4) cells, here D is at most 4
            B,c,d,h,w = x.shape
            cells = F.pad(x, (0,0,0,0,0,4-d)).flatten(2).transpose(1, 2)
            q,k,v = self.qkv_3d(cells).view(B, -1, 3, self.heads, c//self.heads).permute(2,0,3,1,4)
            a = (q@k.transpose(2, 3))*(c//self.heads)**-.5
            a[...,d*h*w:] = -1000
            y = (a.softmax(-1)@v).transpose(1, 2).flatten(2).transpose(1, 2).view(B, c, 4, h, w)
            return self.final1x1(y[:,:,:d])
    class Glass(nn.Module):
        def __init__(self, c, n=3, windows=False, psm=False):
            super().__init__()
            self.psm,w = psm,2*c if psm else 4*c
            if n==3:
                self.conv1,self.conv2 = cbr(c, 2*c, 3, 2, n=3),(cb if psm else cbr)(2*c, 2*c, n=3)
                self.conv3,self.conv4 = cbr(2*c, w, 3, 2, n=3),cbr(w, w, n=3)
            else: self.conv1,self.conv2,self.conv3,self.conv4 = V2(c, 2*c, 2, 2),V2(2*c, 2*c, 1, 2),V2(2*c, w, 2, 2),V2(w, w, 1, 2)
            self.conv5,self.conv6 = up(w, 2*c, n),up(2*c, c, n)
            if windows: self.attention_block = Windows(4*c)
            if not psm: self.redir1,self.redir2 = [cb(k, k, 1, n=3) if n==3 else V2(k, k, 1, 2) for k in (c,2*c)]
        def forward(self, x, skip=None, post=None):
            half = self.conv2(self.conv1(x))
            if self.psm: half = F.relu(half+(0 if post is None else post))
            low = self.conv4(self.conv3(half))
            if hasattr(self, 'attention_block'): low = self.attention_block(low)
            if not self.psm: return F.relu(self.conv6(F.relu(self.conv5(low)+self.redir2(half)))+self.redir1(x))
            post = F.relu(self.conv5(low)+(half if skip is None else skip))
            return self.conv6(post),half,post
    def head(c): return nn.Sequential(cb(c, c, n=3), nn.ReLU(), nn.Conv3d(c, 1, 3, padding=1, bias=False))
    def two(i, c, last=True): return nn.Sequential(cb(i, c, n=3), nn.ReLU(), cb(c, c, n=3), *[nn.ReLU()]*last)
    class Published(nn.Module):
        def __init__(self, name, c):
            super().__init__()
            self.name,self.c,n = name,c,10*c//8
            self.feature_extraction = Features(c, dict(psmnet=c, gwcnet_gc=12).get(name, 0), name=='psmnet', name[0]=='m')
            if name=='acvnet':
                self.concatconv = nn.Sequential(cb(10*c, 4*c), nn.ReLU(), nn.Conv2d(4*c, c, 1, bias=False))
                self.patch = nn.Conv3d(n, n, (1,3,3), padding=(0,1,1), groups=n, bias=False)
                for i,k in enumerate((2*c//8,4*c//8,4*c//8), 1):
                    setattr(self, f'patch_l{i}', nn.Conv3d(k, k, (1,3,3), 1, (0,i,i), (1,i,i), k, False))
                self.dres1_att_,self.dres2_att_,self.classif_att_ = two(n, c, False),Glass(c, windows=True),head(c)
            if name[0]=='m':
                act,pair = nn.ReLU(),lambda: [V2(D, D, 1, 3), nn.ReLU(), V2(D, D, 1, 3)]
                self.preconv11 = nn.Sequential(cb(320, 256, 1), act, cb(256, 128, 1), act, cb(128, 64, 1), act, nn.Conv2d(64, 32, 1))
                self.conv3d = nn.Sequential(*[m for i,o,k in ((1,16,8), (16,32,4), (32,16,2)) for m in (
                    nn.Conv3d(i, o, (k,3,3), (k,1,1), (0,1,1)), nn.BatchNorm3d(o), nn.ReLU())])
                self.volume11,self.dres0,self.dres1 = cbr(16, 1, 1),nn.Sequential(*pair(), nn.ReLU()),nn.Sequential(*pair())
                for i in (1,2,3): setattr(self, f'encoder_decoder{i}', Glass(D, 2))
                for i in range(4): setattr(self, f'classif{i}', nn.Sequential(cb(D, D), nn.ReLU(), nn.Conv2d(D, D, 3, padding=1, bias=False)))
                return
            volume = dict(psmnet=2*c, gwcnet_g=n, gwcnet_gc=n+24, acvnet=2*c)[name]
            self.dres0,self.dres1 = two(volume, c),two(c, c, False)
            for i in range(2, 4 if name=='acvnet' else 5): setattr(self, f'dres{i}', Glass(c, 3, name=='acvnet', name=='psmnet'))
            for i in dict(psmnet=(1,2,3), acvnet=(0,1,2)).get(name, range(4)): setattr(self, f'classif{i}', head(c))
        def forward(self, left, right):
            (l,l2),(r,r2) = map(self.feature_extraction, (left,right))
            if self.name[0]=='m':
                l,r = map(self.preconv11, (l,r))
                x = torch.zeros(len(l), D, *l.shape[2:])
                for d in range(D):
                    both = torch.stack([l[...,d:],r[...,:l.shape[-1]-d]], 2).flatten(1, 2)
                    x[:,d,:,d:] = self.volume11(self.conv3d(both[:,None])[:,:,0])[:,0]
                x = self.dres0(x)
                x = self.dres1(x)+x
                for i in (1,2,3): x = getattr(self, f'encoder_decoder{i}')(x)
                return self.classif3(x)
            groups = groupwise_volume(l, r, D, 10*self.c//8) if self.name!='psmnet' else None
            if self.name=='gwcnet_g': x = groups
            elif self.name=='gwcnet_gc': x = torch.cat([groups,concat_volume(l2, r2, D)], 1)
            elif self.name=='psmnet': x = concat_volume(l2, r2, D)
            else:
                a,(i,j) = self.patch(groups),(2*self.c//8,6*self.c//8)
                a = torch.cat([self.patch_l1(a[:,:i]),self.patch_l2(a[:,i:j]),self.patch_l3(a[:,j:])], 1)
                a = self.classif_att_(self.dres2_att_(self.dres1_att_(a))).softmax(2)
                x = a*concat_volume(self.concatconv(l), self.concatconv(r), D)
            x = self.dres0(x)
            first = x = self.dres1(x)+x
            if self.name!='psmnet':
                for k in [k for k in ('dres2','dres3','dres4') if hasattr(self, k)]: x = getattr(self, k)(x)
                return getattr(self, 'classif2' if self.name=='acvnet' else 'classif3')(x)[:,0]
            skip,post,score = None,None,0
            for i in range(3):
                x,pre,post = getattr(self, f'dres{i+2}')(x, skip, post)
                x,skip = x+first,pre if skip is None else skip
                score = score+getattr(self, f'classif{i+1}')(x)[:,0]
            return score
    x,y = torch.rand(2,1,3,64,64,generator=torch.Generator().manual_seed(0))
    for name,c in dict(psmnet=8, gwcnet_g=8, gwcnet_gc=8, acvnet=8, mobilestereonet2d=32).items():
        torch.manual_seed(0)
        theirs = Published(name, c).eval()
        for m in theirs.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.running_mean.uniform_(-.2, .2)
                m.running_var.uniform_(.5, 2)
                nn.init.uniform_(m.weight, .7, 1.3)
                nn.init.uniform_(m.bias, -.2, .2)
        kw = dict(max_disp=4*D, blocks=(2,2,2,2), **({} if name[0]=='m' else dict(width=c)))
        with tempfile.TemporaryDirectory() as d, torch.no_grad():
            state = {f'module.{k}':v for k,v in theirs.state_dict().items()}
            torch.save(dict(epoch=9, state_dict=state, optimizer=dict(lr=1e-3)), f'{d}/a.tar')
            ours = import_weights(name, f'{d}/a.tar', **kw)
            a,b = theirs(x, y),ours(x, y, upto='aggregation').aggregation[-1]
            assert (a-b).abs().max()<1e-4*a.abs().max(), (name, (a-b).abs().max(), a.abs().max())
            held = sum(v.numel() for v in theirs.parameters())-(64 if name[0]=='m' else 0) # biases in front of BatchNorm
            test_eq(sum(p.numel() for p in ours.parameters()), held)
            assert not ours.training and ours.spec['name']==name

def test_what_does_not_fit_is_named():
    from stereo_kd.models.import_weights import _gwcnet
    kw = dict(max_disp=48, width=8, blocks=(1,1,1,1))
    net = gwcnet_g(**kw)
    back = {b:a for a,b in _gwcnet(net).items()}
    state = {f"{back[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}":v for k,v in net.state_dict().items()}
    with tempfile.TemporaryDirectory() as d:
        f = f'{d}/a.pth'
        def load(held, **k):
            torch.save(held, f)
            return import_weights('gwcnet_g', f, **kw|k)
        for held in (state, dict(model=state), dict(state_dict=state), {f'module.{k}':v for k,v in state.items()},
                     {k:v for k,v in state.items() if 'num_batches' not in k}): # torch 0.4 had no such buffer
            got = load(held)
            for a,b in zip(got.state_dict().values(), net.state_dict().values(), strict=True): test_eq(a, b)
        def refused(say, held, **k): test_fail(lambda: load(held, **k), exc=ValueError, contains=say)
        less = {k:v for k,v in state.items() if k!='classif3.2.weight'}
        refused('a.pth is no published gwcnet_g: it lacks classif3.2.weight', less)
        refused('it has dres9.weight', state|{'dres9.weight':torch.ones(1)})
        refused('it lacks classif3.2.weight; it has classif9.2.weight', less|{'classif9.2.weight':state['classif3.2.weight']})
        refused('it has dres0.0.0.bias', state|{'dres0.0.0.bias':torch.ones(8)}) # its convolution has no bias
        refused('dres0.0.0.weight is (8, 9, 3, 3, 3), the gwcnet_g has (8, 10, 3, 3, 3)',
                state|{'dres0.0.0.weight':torch.ones(8,9,3,3,3)})
        refused('a.pth: classif3.2.weight is not finite', state|{'classif3.2.weight':state['classif3.2.weight']*torch.nan})
        torch.save(less, f)
        test_eq(published_name(f), 'gwcnet_g')
        torch.save({'a.weight':torch.ones(1)}, f)
        test_fail(lambda: published_name(f), exc=ValueError, contains='a.pth holds none of the published networks: acvnet')
        refused('no table of tensors: \'epoch\' is a int', state|dict(epoch=3))
        refused('holds a list', [1,2])
        refused('without running code', dict(state_dict=state, args=Path('x'))) # a pickle that asks for a class
        Path(f).write_bytes(b'PK nonsense')
        test_fail(lambda: read_published(f), exc=ValueError, contains='a.pth is damaged')
        test_fail(lambda: import_weights('dtpnet', f), exc=ValueError, contains="unknown network with published weights 'dtpnet'")
        test_fail(lambda: import_weights('psmnet', f'{d}/b.pth'), exc=OSError, contains='b.pth does not exist')

def test_every_tensor_is_used_once():
    for name,(make,side_by_side,_) in published.items():
        net = make()
        names = side_by_side(net)
        assert isinstance(names, Names)
        test_eq(len(set(names.values())), len(names))
        test_eq({k.rpartition('.')[0] for k in net.state_dict()}, set(names.values()))
        back = {b:a for a,b in names.items()}
        theirs = {f"{back[k.rpartition('.')[0]]}.{k.rpartition('.')[2]}":v for k,v in net.state_dict().items()}
        with tempfile.TemporaryDirectory() as d:
            torch.save(theirs, f'{d}/a.ckpt')
            test_eq(published_name(f'{d}/a.ckpt'), name)
