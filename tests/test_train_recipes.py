# Generated from nbs/64_train.recipes.ipynb; edit the notebook, not this file
import torch.nn.functional as F
from fastai.basics import Adam
from functools import partial
from torch import nn
from stereo_kd.core import pick
from stereo_kd.losses.cost_volume import OutputsLoss, volume_kl
from stereo_kd.losses.disparity import DisparityLoss
from stereo_kd.losses.feature import AdaptedLoss, FeatureLoss, MapLoss, cosine_distance, map_shapes, pyramid_mse
from stereo_kd.losses.laplacian import LaplaceResponseLoss, LaplacianLoss
from stereo_kd.losses.reconstruction import ReconstructionLoss
from stereo_kd.losses.relational import RELATIONS
from stereo_kd.losses.response import tempered_ce, tempered_kl, tempered_l1, ResponseLoss
from stereo_kd.models.tsnnet import TSNnet
from stereo_kd.train.distill import DistillCallback, Term, ramp, step_down
from stereo_kd.train.ema_mim import EMACallback, MaskCallback
from stereo_kd.train.learner import warm_cosine
import torch
from fastai.basics import Learner, SGD
from fastcore.test import *
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.losses.supervised import RegressionLoss
from stereo_kd.models.zoo import create_model
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.train.recipes import *

def test_recipes_say_what_they_are():
    net = create_model('dtpnet', max_disp=48)
    test_eq(
        dtp_callback(net, net, weight=2., distance=DISTANCES['kl']).recipe,
        dict(name='dtp', weight=2., distance='tempered_kl', at='sampled', tau=[.5,1.]))
    test_eq([d(torch.zeros(1,4,1), torch.zeros(1,4,1)).item() for d in (DISTANCES['l1'],DISTANCES['kl'])], [0.,0.])
    test_close(DISTANCES['ce'](torch.zeros(1,4,1), torch.zeros(1,4,1)).item(), 1.386294, eps=1e-5) # log 4
    small = create_model('tsnnet_naive', max_disp=48)
    recipe = tsnnet_callback(
        small, small, terms=('volume','coarse'), weight=dict(volume=.1), relative=False).recipe
    test_eq(
        recipe,
        dict(name='tsnnet', weights=dict(volume=.1, coarse=1.), relative=False, tau=.5, adapt='student'))
    dsnet = create_model('dsnet', max_disp=48, width=4, features=8, attention_width=4)
    recipe = dsnet_callback(dsnet, dsnet, terms=('features','disparity'), weights=dict(disparity=.3), similarity=('rkd','kl'), decay=(.5,)).recipe
    test_eq(recipe, dict(name='dsnet', weights=dict(features=1., disparity=.3, truth=1.), similarity=['rkd','kl'],
        at='sampled', decay=[.5], layers=[0,1]))
    test_eq(dsnet_callback(dsnet, dsnet).recipe['weights'], DSNET_WEIGHTS)

def test_supervision_is_checked():
    net,other = create_model('dtpnet', max_disp=48),create_model('dtpnet', max_disp=96)
    for recipe in (dtp_callback,tsnnet_callback):
        test_fail(lambda: recipe(net, net, 'labels'), contains="got 'labels'")
        test_fail(lambda: recipe(net, other), contains='same max_disp, got 48 and 96')
        test_eq([recipe(net, net, s).supervised_weight for s in ('teacher','both')], [0.,1.])
    dsnet = create_model('dsnet', max_disp=48, width=4, features=8, attention_width=4)
    test_fail(lambda: dsnet_callback(dsnet, other), contains='same max_disp, got 48 and 96')
    test_fail(lambda: dsnet_callback(dsnet, dsnet, 'truth'), contains="got 'truth'")
    test_close([dsnet_callback(dsnet, dsnet, s, weights=dict(truth=2.)).supervised_weight for s in ('teacher','both')], [0.,2*2.2])

def test_a_cached_teacher_is_a_teacher():
    import tempfile
    from stereo_kd.train.cache import CachedTeacher
    net = create_model('dtpnet', max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        taught = CachedTeacher(net, d, 'pairs')
        test_eq([taught.answer,taught.max_disp], [net.answer,48])
        test_eq(dtp_callback(taught, net).recipe, dtp_callback(net, net).recipe)

def test_a_distribution_teaches_scores():
    import torch
    torch.manual_seed(0)
    teacher = create_model('madis', size='tiny', max_disp=48).freeze()
    student = create_model('dtpnet', max_disp=48, stem=8, width=16)
    callback = dtp_callback(teacher, student, at='quarter')
    test_eq([type(callback.terms[0].loss).__name__,callback.upto], ['LaplaceResponseLoss','aggregation'])
    x,y = torch.randn(2,1,3,32,64)
    out,taught = (n(x, y, 'aggregation') for n in (student,teacher))
    loss = callback.terms[0](out, taught, torch.zeros(1,32,64), torch.zeros(1,32,64, dtype=torch.bool), 0.)
    same = LaplaceResponseLoss(48, at='quarter')(out, taught, None, torch.ones(1,32,64)>0, tau=.5)
    test_eq(loss.item(), same.item())

def test_recipes_for_a_network_that_teaches_itself():
    def kinds(r): return [type(c).__name__ for c in r['cbs']]
    r = madis_recipe()
    test_eq([type(r['loss']).__name__,r['wd'],r['opt_func'].keywords], ['LaplacianLoss',.05,dict(sqr_mom=.95, eps=1e-8)])
    test_eq(r['schedule'](2.)['lr'](.1), 2.)
    test_eq([kinds(r),r['cbs'][0].ratios,r['cbs'][1].parts], [['MaskCallback','EMACallback'],(.4,.4),()])
    test_eq([kinds(madis_recipe(0.)),kinds(madis_recipe(ema=''))], [['EMACallback'],['MaskCallback']])
    test_eq(kinds(madis_recipe(0., '')), [])
    one = madis_recipe(.6, 'encoder', .99, 5, 2., 3.)['cbs']
    test_eq([one[0].ratios,one[0].weight], [(.6,.6),2.])
    test_eq([one[1].parts,one[1].decay,one[1].warmup,one[1].weight], [('encoder',),.99,5,3.])
    c = completion_recipe()
    mask, = c['cbs']
    test_eq([mask.ratios,mask.weight,mask.in_valid], [(.9,0.),0.,True])
    assert isinstance(c['loss'], ReconstructionLoss)
    test_fail(lambda: madis_recipe(ema='decoder'), contains="unknown slow copy 'decoder'")

def test_each_term_by_its_name():
    net = create_model('tsnnet_naive', max_disp=48)
    terms = {n:make(name=n, weight=1.) for n,make in tsnnet_terms(net, net).items()}
    test_eq({n:t.stage for n,t in terms.items() if t.stage!='aggregation'}, dict(volume='cost_volume', features='features'))
    test_eq([terms['probability'].schedules['tau'](p) for p in (0,1)], [.5,.5])
    net = create_model('dsnet', max_disp=48, width=4, features=8, attention_width=4)
    terms = {n:make(name=n, weight=1.) for n,make in dsnet_terms(net, net).items()}
    test_eq({n:t.stage for n,t in terms.items()}, {n:'features' if n=='features' else dict(volume='cost_volume').get(n, n) for n in terms})
    test_eq([t.all_outputs for t in terms.values()], [False,False,True,False])
    test_eq(dsnet_maps(net, net), ['features.left.0','features.left.1','features.right.0','features.right.1','cost_volume','aggregation.-2','aggregation.-1','disparity'])

def test_all_terms_reach_the_student_and_never_the_teacher():
    from stereo_kd.train.recipes import _outputs
    torch.manual_seed(0)
    x,y = torch.randn(2,2,3,32,64)
    disp,valid = 40*torch.rand(2,32,64),torch.rand(2,32,64)<.8
    small = dict(max_disp=48, blocks=(1,1,1,1))
    acvnet,wide = (create_model('acvnet', width=c, **small) for c in (8,12))
    dsnet = create_model('dsnet', width=4, features=8, attention_width=4, **small)
    dtpnet = create_model('dtpnet', max_disp=48, stem=8, width=16)
    cases = ((acvnet,dsnet,'cosine',0), (wide,dtpnet,('cosine','kl'),1), (dtpnet,dsnet,('attention','kl'),0), (wide,dsnet,'fitnet',3))
    for teacher,student,similarity,adapters in cases:
        layers = (0,) if dtpnet in (teacher,student) else (0,1) # its second map is at a quarter of the size
        cb = dsnet_callback(teacher, student, similarity=similarity, layers=layers)
        n_outputs = 1 if dtpnet in (teacher,student) else 2
        test_eq(len(dict(_outputs(teacher, student))), n_outputs)
        test_eq(len([p for p in cb.adapters.parameters() if p.dim()>1]), adapters)
        taught = teacher.eval()(x, y, cb.upto, all_outputs=cb.all_outputs) # with gradients: detached by the terms or not at all
        out = student.train()(x, y)
        losses = {t.name:t(out, taught, disp, valid, 0.) for t in cb.terms}
        moved = {}
        for name,loss in losses.items():
            student.zero_grad()
            loss.backward(retain_graph=True)
            moved[name] = {n.split('.')[0] for n,p in student.named_parameters() if p.grad is not None and p.grad.abs().sum()>0}
            assert moved[name], name
        for n in (student,teacher,cb.adapters): n.zero_grad()
        sum(losses.values()).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())
        silent = {'.'.join(n.split('.')[:2]) for n,p in student.named_parameters() if p.grad is None}
        test_eq(silent, {f'heads.{i}' for i in range(3-n_outputs)} if student is dsnet else set()) # weaker outputs learn from the truth alone
        assert all(p.grad.abs().sum()>0 for p in cb.adapters.parameters())
        assert all(p.grad is None for p in teacher.parameters())
        if student is dsnet: # a term moves what lies before its place, and nothing behind it
            test_eq([moved['features'],moved['volume']], [{'trunk'},{'trunk'}])
            assert {'trunk','attention','stem','hourglasses','heads'}==moved['aggregation']==moved['disparity']
    test_fail(lambda: dsnet_callback(dtpnet, dsnet, layers=(0,)), exc=ValueError, contains='cost_volume of the student is (1, 10, 12, 16, 32)')
    test_fail(lambda: dsnet_callback(dtpnet, dsnet), exc=ValueError, contains='features.left.1 of the student is (1, 8, 32, 64)')
    test_fail(lambda: dsnet_callback(acvnet, dsnet, similarity='kl'), exc=ValueError, contains='features have none')
    test_fail(lambda: dsnet_callback(acvnet, dsnet, similarity='l1'), contains="unknown similarity 'l1'")
    test_fail(lambda: dsnet_callback(acvnet, dsnet, weights=dict(volumes=1.)), contains="unknown term 'volumes'")

def test_the_joint_objective_by_hand():
    import torch.nn.functional as F
    from stereo_kd.losses.feature import cosine_distance
    from stereo_kd.models.base import get_map
    from stereo_kd.models.regression import upsample_scores
    torch.manual_seed(0)
    small = dict(max_disp=48, blocks=(1,1,1,1))
    teacher = create_model('acvnet', width=8, **small).eval()
    student = create_model('dsnet', width=4, features=8, attention_width=4, **small)
    x,y = torch.randn(2,2,3,32,64)
    disp,valid = 40*torch.rand(2,32,64),torch.rand(2,32,64)<.8
    cb = dsnet_callback(teacher, student, at='full')
    with torch.no_grad(): taught,out = teacher(x, y, cb.upto, all_outputs=cb.all_outputs),student(x, y)
    got = {t.name:t(out, taught, disp, valid, 0.).item() for t in cb.terms}
    def cos(name): return cosine_distance(get_map(out, name), get_map(taught, name))
    def ce(i):
        p,q = (upsample_scores(o.aggregation[i], 48).softmax(1) for o in (out,taught))
        return -(q*p.log()).sum(1).mean()
    gap = F.smooth_l1_loss(out.disparity[-1][valid], taught.disparity[-1][valid])
    want = dict(features=sum(cos(f'features.{v}.{i}') for v in ('left','right') for i in (0,1)), volume=5*cos('cost_volume'),
                aggregation=.2*4*(.5*ce(-2)+ce(-1)), disparity=.1*gap)
    test_eq(got.keys(), want.keys())
    for k in want: test_close(got[k], want[k].item(), eps=1e-4*abs(want[k].item()))
    outputs = [((d-disp).abs()+.5).log()[valid].mean() for d in out.disparity] # log-L1 of all three
    truth = cb.supervised_weight*RegressionLoss(student.supervised_weights)(out, disp, valid)
    test_close(truth.item(), (.5*outputs[0]+.7*outputs[1]+outputs[2]).item(), eps=1e-4)

def test_any_teacher_trains_any_student():
    import tempfile
    from stereo_kd.core import set_seed
    from stereo_kd.train.learner import fit, stereo_learner
    dls = StereoDataLoaders.from_synthetic(2, 1, (32,64), bs=2, max_disp=48, device='cpu')
    small = dict(max_disp=48, blocks=(1,1,1,1))
    makes = dict(
        acvnet=lambda: create_model('acvnet', width=8, **small), dtpnet=lambda: create_model('dtpnet', max_disp=48, stem=8, width=16),
        dsnet=lambda: create_model('dsnet', width=4, features=8, attention_width=4, **small))
    def step(teacher, student, **kw):
        set_seed(0)
        net = makes[student]()
        layers = (0,) if 'dtpnet' in (student,teacher.spec['name']) else (0,1)
        cb = dsnet_callback(teacher, net, layers=layers, **kw)
        before = [[p.clone() for p in n.parameters()] for n in (getattr(teacher, 'teacher', teacher),net)]
        loss = RegressionLoss(net.supervised_weights)
        learn = stereo_learner(dls, net, loss, precision='fp32', cbs=cb)
        with learn.no_bar(),learn.no_logging(): fit(learn, 1)
        after = [getattr(teacher, 'teacher', teacher),net]
        return cb.means,[any(not p.equal(q) for p,q in zip(n.parameters(), b)) for n,b in zip(after, before)]
    for teacher,student,similarity in (('acvnet','dtpnet',('cosine','kl')), ('dtpnet','dsnet',('cosine','kl')), ('acvnet','dsnet','cosine')):
        set_seed(1)
        means,moved = step(makes[teacher](), student, similarity=similarity)
        test_eq(moved, [False,True])
        assert set(means)=={'features','volume','aggregation','disparity'} and all(v>0 for v in means.values()), means
    set_seed(1)
    teacher = makes['acvnet']().eval()
    with tempfile.TemporaryDirectory() as d:
        kept = CachedTeacher(teacher, d, 'pairs', dsnet_maps(teacher, makes['dsnet']()))
        a,b = (step(t, 'dsnet', at='full')[0] for t in (kept,teacher))
        test_eq(kept.asked, 2)
    for k in a: test_close(a[k], b[k], eps=2e-3*abs(b[k])+1e-6)

def test_weights_decay_as_released_or_stay():
    dsnet = create_model('dsnet', max_disp=48, width=4, features=8, attention_width=4, blocks=(1,1,1,1))
    def weights(progress, **kw):
        cb = dsnet_callback(dsnet, dsnet, **kw)
        for t in cb.terms: t.loss = lambda *a, **settings: 1.
        return {t.name:t(None, None, None, None, progress) for t in cb.terms}
    want = {k:v for k,v in DSNET_WEIGHTS.items() if k!='truth'}
    for p in (0,.5,1): test_eq(weights(p), want)
    late = weights(.5, decay=(.1,.2,.4))
    test_close([late[k]/want[k] for k in ('features','volume','aggregation','disparity')], [1e-3,1e-3,1e-3,1], eps=1e-9)
    test_eq(weights(.05, decay=(.1,.2,.4)), want)
    test_eq(weights(0, weights=dict(volume=2.), terms=('volume',)), dict(volume=2.))
