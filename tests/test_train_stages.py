# Generated from nbs/65_train.stages.ipynb; edit the notebook, not this file
import torch
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple
from fastcore.basics import patch
from importlib.metadata import version
from fastcore.foundation import L
from torch import nn
from stereo_kd.core import FolderInUse, OtherRequest, claim, fingerprint, hold, set_seed
from stereo_kd.models.widths import widths
from stereo_kd.models.zoo import create_model, load_model, save_model
from stereo_kd.prune.loop import prune_loop, ratio_for
from stereo_kd.train.learner import FrozenNormCallback, fit, stereo_learner
from stereo_kd.train.state import describe, describe_loaders, drop_states
from stereo_kd.train.recipes import dtp_callback
import tempfile, torch
from fastcore.test import *
from stereo_kd.data.loaders import StereoDataLoaders
from stereo_kd.models.zoo import create_model, read_card
from stereo_kd.train.recipes import tsnnet_callback
import pytest
from stereo_kd.train.stages import *

def test_average_lies_in_the_middle():
    import tempfile
    from stereo_kd.core import set_seed
    from stereo_kd.models.zoo import create_model, save_model
    from stereo_kd.train.stages import average_weights
    tiny = dict(max_disp=48, stem=8, width=16)
    with tempfile.TemporaryDirectory() as d:
        nets = []
        for k in (1,2):
            set_seed(k)
            net = create_model('dtpnet', **tiny)
            next(net.buffers()).fill_(k)
            save_model(net, f'{d}/{k}/model.safetensors', steps=k)
            nets.append(net)
        mean = average_weights([f'{d}/1',f'{d}/2'], f'{d}/mean')
        a,b,m = nets[0].state_dict(),nets[1].state_dict(),mean.state_dict()
        for k in m: test_close(m[k].float(), (a[k].float()+b[k].float())/2, eps=1e-6)
        test_eq([mean.card['meta'][k] for k in ('steps','average_of')], [2,'1, 2'])
        test_eq(mean.training, False)
        save_model(create_model('dtpnet', **tiny|dict(width=24)), f'{d}/wide/model.safetensors')
        test_fail(
            lambda: average_weights([f'{d}/1',f'{d}/wide'], f'{d}/mean'), exc=ValueError,
            contains='cannot be averaged')

def test_a_finished_chain_is_read_back():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    def chain(folder):
        torch.manual_seed(0)
        teacher = create_model('dtpnet', max_disp=48, stem=8, width=16).eval()
        s = train_stage(
            create_model('dtpnet', max_disp=48, stem=8, width=16), dls, 1, f'{folder}/student',
            supervision='both', teacher=teacher, learner=dict(precision='fp32'))
        return [s]+prune_stages(
            s, dls, 2, folder, .3, calibrate=2, pruning=dict(round_to=1), supervision='teacher',
            teacher=teacher, learner=dict(precision='fp32'))
    from fastai.basics import Learner
    with tempfile.TemporaryDirectory() as d:
        from unittest import mock
        first = chain(d)
        stamps = {p:p.stat().st_mtime_ns for p in Path(d).rglob('*.safetensors')}
        with mock.patch.object(Learner, 'fit', side_effect=AssertionError('trained again')): again = chain(d)
        n = [sum(p.numel() for p in m.parameters()) for m in first]
        assert n[0]>n[1]>n[2], n
        test_eq(len(stamps), 3)
        test_eq(stamps, {p:p.stat().st_mtime_ns for p in Path(d).rglob('*.safetensors')})
        for a,b in zip(first, again, strict=True):
            for p,q in zip(a.state_dict().values(), b.state_dict().values(), strict=True): test_eq(p, q)
        test_eq(
            [read_card(f'{d}/{k}/model.safetensors')['meta']['supervision'] for k in ('student','prune1')],
            ['both','teacher'])
        assert 'kd' in read_card(f'{d}/student/model.safetensors')['meta']['history'][0]

def test_another_request_is_refused():
    tiny = dict(max_disp=48, stem=8, width=16)
    def loaders(**kw):
        return StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu', **kw)
    def fresh(seed=0, **kw):
        set_seed(seed)
        return create_model('dtpnet', **tiny|kw).eval()
    def stage(folder, net=None, dls=None, **kw):
        return train_stage(
            net or fresh(), dls or loaders(),
            **dict(epochs=1, folder=folder, learner=dict(precision='fp32'))|kw)
    with tempfile.TemporaryDirectory() as d:
        before = fingerprint(stage(d))
        teacher = fresh(3)
        for words,kw in {
            'epochs was 1, is now 9': dict(epochs=9), 'seed was 0, is now 7': dict(seed=7), 'lr was 0.002': dict(lr=1e-3),
            'supervision was truth, is now teacher': dict(supervision='teacher', teacher=teacher),
            'start was': dict(net=fresh(1)), 'args was': dict(net=fresh(stem=16)), 'data was': dict(dls=loaders(seed=1)),
            'frozen_norm was False': dict(frozen_norm=True), 'learner was': dict(
                learner=dict(precision='fp32', wd=0.))}.items():
            test_fail(lambda: stage(d, **kw), exc=OtherRequest, contains=words)
        test_eq(fingerprint(stage(d)), before)
        taught = dict(supervision='both', teacher=teacher)
        stage(f'{d}/taught', **taught)
        for words,kw in {'teacher was': dict(teacher=fresh(4)), 'recipe was': dict(weight=2.)}.items():
            test_fail(lambda: stage(f'{d}/taught', **taught|kw), exc=OtherRequest, contains=words)
        pruned = lambda **kw: prune_stages(
            fresh(), loaders(), 1, f'{d}/p', **dict(ratio=.3, calibrate=1, learner=dict(precision='fp32'))|kw)
        pruned()
        test_fail(lambda: pruned(ratio=.2), exc=OtherRequest, contains='ratio was 0.3, is now 0.2')
        test_fail(lambda: pruned(lr=1.), exc=OtherRequest, contains='lr was 0.002, is now 1.0')

@pytest.mark.slow
def test_a_stage_belongs_to_one_process():
    import os, subprocess, sys
    code = '''if 1:
    import sys
    from stereo_kd.core import *
    with hold(sys.argv[1]):
        print('in', flush=True)
        input()'''
    net = lambda: create_model('dtpnet', max_disp=48, stem=8, width=16)
    dls = StereoDataLoaders.from_synthetic(2, 1, (32,64), bs=1, max_disp=48, device='cpu')
    with tempfile.TemporaryDirectory() as d:
        other = subprocess.Popen([sys.executable, '-c', code, d], stdin=-1, stdout=-1, text=True)
        with other:
            other.stdout.readline()
            say = f'in use by process {other.pid}'
            if os.name=='posix': test_fail(lambda: train_stage(net(), dls, 1, d), exc=FolderInUse, contains=say)
            other.communicate('\n')
        train_stage(net(), dls, 1, d, learner=dict(precision='fp32'))
        assert Path(d, 'model.safetensors').exists() and not Path(d, '.held_by').exists()

def test_a_checkpoint_is_the_same_bytes_twice():
    with tempfile.TemporaryDirectory() as d:
        files = []
        for k in 'ab':
            set_seed(0)
            net = create_model('dtpnet', max_disp=48, stem=8, width=16)
            dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
            train_stage(net, dls, 2, f'{d}/{k}', learner=dict(precision='fp32'))
            files.append(Path(f'{d}/{k}/model.safetensors').read_bytes())
        assert files[0]==files[1]
        test_eq(
            sorted(p.name for p in Path(f'{d}/a').iterdir()),
            ['history.csv','made_from.json','model.safetensors'])

def test_a_stage_can_leave_the_statistics():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(2, 1, (32,64), bs=1, max_disp=48, device='cpu')
    for frozen in (False,True):
        net = create_model('dtpnet', max_disp=48, stem=8, width=16)
        before = {k:v.clone() for k,v in net.state_dict().items()}
        with tempfile.TemporaryDirectory() as d:
            after = train_stage(net, dls, 1, d, learner=dict(precision='fp32'), frozen_norm=frozen).state_dict()
        changed = {k.split('.')[-1] for k in before if not torch.equal(before[k], after[k])}
        assert 'weight' in changed
        test_eq('running_mean' in changed, not frozen)

def test_all_terms_of_the_cascade_train():
    torch.manual_seed(0)
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    teacher,naive = (create_model(f'tsnnet_{n}', max_disp=48) for n in ('student','naive'))
    terms = ('volume','coarse','hourglass','features','coarse_kl','probability')
    cb = tsnnet_callback(teacher, naive, 'teacher', terms, weight=dict(volume=.1))
    test_eq([t.weight for t in cb.terms], [.1,1.,1.,1.,1.,1.])
    test_fail(lambda: tsnnet_callback(teacher, naive, terms=['logits']), contains="unknown term 'logits'")
    test_fail(
        lambda: tsnnet_callback(create_model('dtpnet', max_disp=48), naive, terms=['features']),
        contains='dtpnet has others')
    with tempfile.TemporaryDirectory() as d:
        n = train_stage(
            naive, dls, 1, d, supervision='both', teacher=teacher, recipe=tsnnet_callback, terms=terms,
            learner=dict(precision='fp32'))
        meta = read_card(f'{d}/model.safetensors')['meta']
        test_eq(
            [meta['recipe']['name'],list(meta['recipe']['weights']),meta['teacher']],
            ['tsnnet',list(terms),'tsnnet_student'])
        test_eq(meta['made_from']['teacher'], fingerprint(teacher))
        assert all(meta['history'][0][k]>0 for k in terms), meta['history']
        test_eq(list(n.state_dict()), list(create_model('tsnnet_naive', max_disp=48).state_dict()))

def test_a_plan_is_carried_out():
    import shutil
    from unittest import mock
    from fastai.basics import Learner
    from stereo_kd.evaluation.cost import count_params
    def loaders(pairs, seed):
        return StereoDataLoaders.from_synthetic(
            4, 2, (32,64), seed=seed, bs=dict(two=2, one=1)[pairs], max_disp=48, device='cpu')
    plan = {
        'a/first': Step('dtpnet', 'two', 0, 1),
        'a/left': Step('a/first', 'two', 1, 2, teacher='a/first'),
        'a/right': Step('a/first', 'one', 2, 1, frozen_norm=True),
        'a/mean': Step('a/left+a/right'),
        'a/half': Step('a/mean', 'two', 3, 1, teacher='a/mean', prune=2)}
    with tempfile.TemporaryDirectory() as d:
        p = Plan(plan, d, loaders, args=dict(dtpnet=dict(max_disp=48, stem=16, width=32)))
        half = p.make('a/half')
        first,left,right,mean = (p.kept(k).state_dict() for k in list(plan)[:4])
        k = next(k for k in first if k.endswith('running_mean'))
        test_eq(first[k], right[k])
        test_eq(torch.equal(first[k], left[k]), False)
        test_close(mean[k], (left[k]+right[k])/2, eps=1e-6)
        assert .4<count_params(half)/count_params(p.kept('a/mean'))<.6
        test_eq(
            [p.kept(k).card['meta']['supervision'] for k in ('a/first','a/left','a/half')],
            ['truth','both','both'])
        for k in list(plan)[:4]: shutil.rmtree(f'{d}/{k}') # what a later checkpoint has made needless
        with mock.patch.object(Learner, 'fit', side_effect=AssertionError('trained again')):
            test_eq(p.make('a/half').card, half.card)
        test_eq(p.way('a/half'), ['a/first','a/left','a/right','a/half'])
        test_eq([p.n_steps(k) for k in plan], [2,4,4,0,6])
        test_fail(
            lambda: Plan(dict(reversed(plan.items())), d, loaders), exc=ValueError,
            contains='a/half needs a/mean, which must stand before it')
