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

def test_a_network_that_teaches_itself():
    from stereo_kd.data.transforms import Augmented, LidarTruth
    from stereo_kd.data.synthetic import SyntheticPairs
    from stereo_kd.train.recipes import completion_recipe, madis_recipe
    def chain(folder, mask=.4):
        set_seed(0)
        thin = Augmented(SyntheticPairs(4, (32,64), 1, 48), [LidarTruth(.3)])
        dls = StereoDataLoaders.from_datasets(thin, SyntheticPairs(2, (32,64), 0, 48), bs=2)
        net = create_model('madis', size='tiny', max_disp=48)
        recipes = completion_recipe(),madis_recipe(mask, 'encoder')
        for name,recipe in zip(('completed','trained'), recipes):
            net = train_stage(net, dls, 1, f'{folder}/{name}', 1e-3, learner=recipe|dict(precision='fp32'))
        return net
    with tempfile.TemporaryDirectory() as d:
        first = chain(d)
        test_eq(fingerprint(chain(d)), fingerprint(first))
        start = load_model(f'{d}/completed/model.safetensors')
        head = {k for k,v in start.state_dict().items() if not torch.equal(v, first.state_dict()[k])}
        assert any(k.startswith('head') for k in head) and any(k.startswith('encoder') for k in head)
        made = first.card['meta']['made_from']['learner']
        test_eq([c['kind'] for c in made['cbs']], ['MaskCallback','EMACallback'])
        test_eq([made['cbs'][0]['ratios'],made['cbs'][1]['parts']], [[.4,.4],['encoder']])
        assert {'reconstruction','pseudo'}<=set(first.card['meta']['history'][0])
        test_fail(lambda: chain(d, .5), exc=OtherRequest, contains='learner was')

@pytest.mark.slow
def test_twenty_kills_change_nothing():
    import csv, os, subprocess, sys, time
    from stereo_kd.testing import project_root
    script = """
import os, random, signal, sys, time
os.environ.update(MPLBACKEND='Agg', IN_TEST='1')
import stereo_kd.all
from stereo_kd.testing import read_cells
book,run,kills,longest = sys.argv[1],sys.argv[2],int(sys.argv[3]),float(sys.argv[4])
cells = [c.code for c in read_cells(book) if c.kind=='code']
def execute():
    names = dict(__name__='experiment')
    for cell in cells:
        exec(compile(cell, book, 'exec'), names)
        if 'preset' in names and 'run' not in names: names.update(preset='smoke', run_dir=run)
def start():
    child = os.fork()
    if child: return child
    execute()
    os._exit(0)
moments,killed = random.Random(0),0
for _ in range(kills):
    child = start()
    time.sleep(moments.uniform(0, longest))
    os.kill(child, signal.SIGKILL)
    if not os.WIFSIGNALED(os.waitpid(child, 0)[1]): break # it had ended
    killed += 1
assert os.waitstatus_to_exitcode(os.waitpid(start(), 0)[1])==0
print(killed)"""
    book = project_root()/'nbs/exp_dtp.ipynb'
    with tempfile.TemporaryDirectory() as d:
        def run(name, kills=0, longest=0.):
            environment = os.environ|dict(OMP_NUM_THREADS='1', NUMBA_CACHE_DIR=f'{d}/cache')
            arguments = map(str, (book, f'{d}/{name}', kills, longest))
            began = time.perf_counter()
            done = subprocess.run(
                [sys.executable,'-c',script,*arguments], env=environment, cwd=book.parent, capture_output=True, text=True)
            assert not done.returncode, done.stderr
            return time.perf_counter()-began,int(done.stdout.split()[-1])
        seconds,_ = run('whole')
        assert run('stopped', 20, seconds/30)[1]>=10 # a fast one may end before the last of them
        def files(name): return {str(f.relative_to(f'{d}/{name}')):f for f in Path(f'{d}/{name}').rglob('*') if f.is_file()}
        whole,stopped = files('whole'),files('stopped')
        test_eq(sorted(stopped), sorted(whole)) # nothing left over
        # these hold times, the commit, or the number of a process
        timed = {'history.csv','metrics.json','metrics_real.json','table.txt','.held_by'}
        same = [f for f in whole if Path(f).name not in timed]
        assert sum(f.endswith('model.safetensors') for f in same)>3
        test_eq([f for f in same if whole[f].read_bytes()!=stopped[f].read_bytes()], [])
        def history(file): return [{k:v for k,v in r.items() if k!='seconds'} for r in csv.DictReader(file.open())]
        for f in whole:
            if f.endswith('history.csv'): test_eq(history(stopped[f]), history(whole[f]))

def test_cuts_are_fine_tuned_on_fresh_pairs():
    from unittest import mock
    from stereo_kd.data.synthetic import SyntheticPairs
    from stereo_kd.prune import loop
    def loaders(seed):
        return StereoDataLoaders.from_synthetic(4, 1, (32,64), seed=seed, bs=2, max_disp=48, device='cpu')
    seen,taus,batch = [],[],SyntheticPairs.batch
    def noted(self, indices):
        if self.seed: seen.append([(self.seed,i) for i in indices]) # 0: validation
        return batch(self, indices)
    torch.manual_seed(0)
    teacher,net = (create_model('dtpnet', max_disp=48, stem=8, width=16) for _ in range(2))
    kd = dict(supervision='teacher', teacher=teacher.eval(), learner=dict(precision='fp32'))
    with tempfile.TemporaryDirectory() as d, mock.patch.object(SyntheticPairs, 'batch', noted):
        student = train_stage(net, loaders(0), 2, f'{d}/student', **kd)
        before = {p for b in seen for p in b}
        seen.clear()
        cuts = prune_stages(
            student, lambda k: loaders(1000*k), 2, d, .1, calibrate=1, pruning=dict(round_to=1), tau=(1.,1.), **kd)
        cards = [read_card(f'{d}/{k}/model.safetensors')['meta']['recipe']['tau'] for k in ('student','prune1','prune2')]
    first,second = ({p for b in seen for p in b if p[0]==s} for s in (1001,2001))
    test_eq([len(before),len(first),len(second)], [8,4,4]) # recalibration looks at the first of the fine-tuning pairs
    assert not before&(first|second) and {p for b in seen for p in b}==first|second
    test_eq(cards, [[.5,1.],[1.,1.],[1.,1.]])
    n = [sum(p.numel() for p in m.parameters()) for m in (student,*cuts)]
    assert n[0]>n[1]>n[2], n

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
        test_fail(lambda: stage(f'{d}/other', until=2), exc=ValueError, contains='until must be 0 to 1, the epochs of the schedule, got 2')
        for words,kw in {
            'epochs was 1, is now 9': dict(epochs=9), 'seed was 0, is now 7': dict(seed=7), 'lr was 0.002': dict(lr=1e-3),
            'supervision was truth, is now teacher': dict(supervision='teacher', teacher=teacher),
            'start was': dict(net=fresh(1)), 'args was': dict(net=fresh(stem=16)), 'data was': dict(dls=loaders(seed=1)),
            'frozen_norm was False': dict(frozen_norm=True), 'learner was': dict(
                learner=dict(precision='fp32', wd=0.)), 'until was None, is now 1': dict(until=1)}.items():
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

def test_a_stop_after_any_file_changes_nothing():
    import os
    from itertools import count
    from unittest import mock
    replace = os.replace
    def stage(folder):
        set_seed(0)
        net = create_model('dtpnet', max_disp=48, stem=8, width=16)
        dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
        train_stage(net, dls, 2, folder, learner=dict(precision='fp32'))
        rows = (Path(folder)/'history.csv').read_text().splitlines()
        return sorted(p.name for p in Path(folder).iterdir()),len(rows),(Path(folder)/'model.safetensors').read_bytes()
    def stop_after(n):
        files = count()
        def replaced(a, b):
            replace(a, b)
            if next(files)==n: raise KeyboardInterrupt
        return mock.patch('os.replace', replaced)
    with tempfile.TemporaryDirectory() as d:
        with mock.patch('os.replace', side_effect=replace) as written: whole = stage(f'{d}/whole')
        names = [Path(call.args[1]).name for call in written.call_args_list]
        test_eq(names, ['made_from.json',*['history.csv','state-1.safetensors','history.csv','state-2.safetensors'],
                        'model.safetensors'])
        for n in range(len(names)):
            with stop_after(n): test_fail(lambda: stage(f'{d}/{n}'), exc=KeyboardInterrupt)
            test_eq(stage(f'{d}/{n}'), whole)

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

def test_a_stage_can_stop_before_the_rate_has_fallen():
    from unittest import mock
    from fastai.basics import Learner
    from stereo_kd.train.state import read_state
    dls = StereoDataLoaders.from_synthetic(4, 2, (32,64), bs=2, max_disp=48, device='cpu')
    def begin():
        set_seed(0)
        return create_model('dtpnet', max_disp=48, stem=8, width=16)
    def learner(net): return stereo_learner(dls, net, precision='fp32')
    with tempfile.TemporaryDirectory() as d:
        early = train_stage(begin(), dls, 3, f'{d}/early', until=2, learner=dict(precision='fp32'))
        for k,until in dict(whole=0, stopped=2, one=1).items(): fit(learner(begin()), 3, 2e-3, f'{d}/{k}', until)
        test_eq([len(early.card['meta']['history']), *(early.card['meta'][k] for k in ('epochs','until','steps'))], [2,3,2,4])
        two = read_state(f'{d}/stopped')['model']
        for k,v in early.state_dict().items(): test_eq(v, two[k])
        assert not torch.equal(two['score.weight'], read_state(f'{d}/whole')['model']['score.weight'])
        fit(learner(begin()), 3, 2e-3, f'{d}/one', 2) # goes on
        for k,v in read_state(f'{d}/one')['model'].items(): test_eq(v, two[k])
        with mock.patch.object(Learner, 'fit', side_effect=AssertionError('trained again')): # stopped before it was saved
            again = train_stage(begin(), dls, 3, f'{d}/stopped', until=2, learner=dict(precision='fp32'))
        test_eq(fingerprint(again), fingerprint(early))

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

@pytest.mark.slow
def test_the_protocol_of_dtp_on_two_data_sets():
    import cv2, json, papermill, stereo_kd
    import numpy as np
    from unittest import SkipTest
    from stereo_kd.data.io import write_disparity
    nbs = Path(stereo_kd.__file__).parents[1]/'nbs'
    if not (nbs/'exp_dtp.ipynb').exists(): raise SkipTest('the notebooks are not here')
    def pair(root, left, right, disp, k):
        for v,f in enumerate((left,right)):
            (root/f).parent.mkdir(parents=True, exist_ok=True)
            image = np.random.default_rng(2*k+v).integers(0, 255, (64,128,3), dtype=np.uint8)
            cv2.imwrite(str(root/f), image)
        write_disparity(root/disp, np.full((64,128), 5.+k, 'float32'))
    def trees(d):
        for k,f in enumerate((
            'FlyingThings3D/{}/TRAIN/A/0000', 'FlyingThings3D/{}/TEST/A/0000', 'Monkaa/{}/scene', 'Driving/{}/15mm')):
            frames,truth = f.format('frames_finalpass'),f.format('disparity')
            pair(d/'sceneflow', f'{frames}/left/0001.png', f'{frames}/right/0001.png', f'{truth}/left/0001.pfm', k)
        for k in range(5):
            pair(d/'kitti', *(f'training/{v}/{k:06d}_10.png' for v in ('image_2','image_3','disp_occ_0')), k)
    with tempfile.TemporaryDirectory() as d:
        d = Path(d)
        trees(d)
        torch.manual_seed(0)
        save_model(create_model('psmnet', width=8, blocks=(1,1,1,1)), d/'teacher.safetensors')
        def run(name, **kw):
            asked = dict(preset='paper', epochs=1, finetune=1, crop='32x64', batch=2, timed=-1,
                         teacher=f'{d}/teacher.safetensors', run_dir=f'{d}/{name}')
            papermill.execute_notebook(
                nbs/'exp_dtp.ipynb', None, asked|kw, cwd=nbs, kernel_name='python3', progress_bar=False)
            return json.loads((d/name/'metrics.json').read_text())['rows']
        after = dict(data_root=f'{d}/kitti', dataset='kitti2015', start=f'{d}/sf')
        rows = run('sf', data_root=f'{d}/sceneflow'),run('k15', **after)
        cards = {k: read_card(d/k/'model.safetensors') for k in ('sf/distilled','k15/distilled','k15/truth','k15/prune5')}
    for name,found in zip(('sceneflow','kitti2015'), rows):
        test_eq([r['role'] for r in found], ['teacher','truth','distilled',*['pruned']*5,'scratch'])
        test_eq({r['dataset'] for r in found}, {name})
        test_eq([found[2][k] for k in ('supervision','distance','tau','teacher')], ['teacher','l1','0.5-1.0','psmnet'])
        assert all(a['params_m']>b['params_m'] for a,b in zip(found[2:], found[3:8]))
        test_eq(found[7]['params_m'], found[8]['params_m'])
        assert .37<found[7]['params_m']/found[2]['params_m']<.42 # the paper: 0.26 of 0.64 M
    made = {k:c['meta']['made_from'] for k,c in cards.items()}
    test_eq(made['k15/distilled']['start'], cards['sf/distilled']['weights']) # goes on from there
    test_eq(cards['k15/distilled']['args'], dict(cost_volume='c2d'))
    test_eq([made[k]['learner']['schedule'] for k in ('sf/distilled','k15/distilled','k15/prune5')],
            ['constant','step_decay','constant'])
    test_eq([made[k]['lr'] for k in ('k15/distilled','k15/prune5')], [1e-3,1e-4])
    test_eq([made['k15/truth']['learner']['loss'][k] for k in ('ce','l1')], [0,1.]) # smooth-L1 alone
    test_eq([cards[k]['meta']['recipe']['tau'] for k in ('k15/distilled','k15/prune5')], [[.5,1.],[1.,1.]])

def test_a_plan_is_carried_out():
    import shutil
    from contextlib import redirect_stdout
    from io import StringIO
    from unittest import mock
    from fastai.basics import Learner
    from stereo_kd.evaluation.cost import count_params
    asked = set()
    def loaders(pairs, seed):
        asked.add((pairs,seed))
        return StereoDataLoaders.from_synthetic(
            4, 2, (32,64), seed=seed, bs=dict(two=2, one=1)[pairs], max_disp=48, device='cpu')
    plan = {
        'a/first': Step('dtpnet', 'two', 0, 1),
        'a/left': Step('a/first', 'two', 1, 2, teacher='a/first'),
        'a/right': Step('a/first', 'one', 2, 3, frozen_norm=True, until=1),
        'a/mean': Step('a/left+a/right'),
        'a/half': Step('a/mean', 'two', 3, 1, teacher='a/mean', prune=2)}
    with tempfile.TemporaryDirectory() as d:
        p = Plan(plan, d, loaders, args=dict(dtpnet=dict(max_disp=48, stem=16, width=32)))
        half = p.make('a/half')
        test_eq(asked, {('two',0),('two',1),('one',2),('two',3),('two',1003),('two',2003)}) # each cut has pairs of its own
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
            longer = plan|{'a/left': plan['a/left']._replace(epochs=3)} # a checkpoint on the way, now deleted
            for changed in (dict(steps=longer), dict(seed=1), dict(recipes=dict(a=dict(weight=2.)))):
                given = dict(steps=plan, seed=0, recipes={})|changed
                other = Plan(given['steps'], d, loaders, given['seed'], p.args, given['recipes'])
                test_fail(lambda: other.make('a/half'), exc=OtherRequest, contains=f'a checkpoint that was made from')
        test_eq(p.way('a/half'), ['a/first','a/left','a/right','a/half'])
        steps = {'dtpnet_lite/x': Step('dtpnet_lite', 'two', epochs=1), 'a/y': Step('dtpnet', teacher='dtpnet_lite/x')}
        lone = Plan(steps, d, loaders) # its teacher was not made
        with redirect_stdout(StringIO()) as said: taught = lone._taught('a/y')
        test_eq(fingerprint(taught['teacher']), fingerprint(load_model('dtpnet_lite')))
        assert 'dtpnet_lite, as it ships, teaches a/y' in said.getvalue()
        test_eq([p.n_steps(k) for k in plan], [2,4,4,0,6])
        asked.clear()
        other = Plan(plan, d, loaders, 5)
        test_eq([other.n_steps('a/left'),asked], [4,{('two',6)}])
        asked.clear()
        other.request('a/left') # what has been told is not asked for again
        test_eq(asked, {('two',5)})
        test_fail(
            lambda: Plan(dict(reversed(plan.items())), d, loaders), exc=ValueError,
            contains='a/half needs a/mean, which must stand before it')
