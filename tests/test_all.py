# Generated from nbs/89_all.ipynb; edit the notebook, not this file
from stereo_kd.core import denormalize, environment, fingerprint, normalize, set_seed
from stereo_kd.kernels.tail import backend, use
from stereo_kd.data.synthetic import SyntheticPairs
from stereo_kd.data.scenes import keep_scenes, KeptScenes, ScenePairs
from stereo_kd.data.io import read_disparity, read_image, write_disparity, write_picture
from stereo_kd.data.files import list_splits, PairFile, PairFiles, Sample, warp_error
from stereo_kd.data.sceneflow import sceneflow
from stereo_kd.data.kitti import kitti2012, kitti2015
from stereo_kd.data.middlebury import middlebury, read_calib
from stereo_kd.data.eth3d import eth3d
from stereo_kd.data.transforms import augment, Augmented, InMemory, LidarTruth
from stereo_kd.data.folder import folder
from stereo_kd.data.loaders import crop_loaders, Mixed, StereoDataLoaders
from stereo_kd.models.base import get_map, StereoNet, StereoOutput
from stereo_kd.models.vit import attention_distance, random_visible
from stereo_kd.models.madis import load_pretrained, MaDis
from stereo_kd.models.import_weights import import_weights
from stereo_kd.models.zoo import create_like, create_model, list_models, load_model, read_card, register_model
from stereo_kd.models.zoo import from_hub, push_to_hub, save_model, shipped
from stereo_kd.losses.supervised import bin_cross_entropy, SupervisedLoss
from stereo_kd.losses.response import ResponseLoss, tempered_ce, tempered_kl, tempered_l1
from stereo_kd.losses.feature import AdaptedLoss, cosine_distance, FeatureLoss, MapLoss
from stereo_kd.losses.relational import attention_transfer, pairwise_similarity
from stereo_kd.losses.relational import probability_transfer, relational_distance
from stereo_kd.losses.cost_volume import OutputsLoss, volume_kl
from stereo_kd.losses.disparity import DisparityLoss
from stereo_kd.losses.laplacian import laplace_scores, LaplacianLoss, LaplaceResponseLoss
from stereo_kd.losses.reconstruction import reconstruction_image, ReconstructionLoss
from stereo_kd.prune.loop import below, prune_loop, prune_step, ratio_below, ratio_for, recalibrate
from stereo_kd.prune.callback import PruneCallback
from stereo_kd.train.cache import CachedTeacher
from stereo_kd.train.ema_mim import EMACallback, MaskCallback
from stereo_kd.train.distill import DistillCallback, ramp, Term
from stereo_kd.train.learner import constant, fit, one_cycle, step_decay, stereo_learner
from stereo_kd.train.recipes import completion_recipe, DISTANCES, dsnet_callback, dtp_callback, madis_recipe
from stereo_kd.train.recipes import tsnnet_callback
from stereo_kd.train.stages import average_weights, Plan, prune_stages, Step, train_stage
from stereo_kd.inference.holes import fill_background, fill_holes
from stereo_kd.inference.weighted_median import weighted_median_filter
from stereo_kd.inference.rectify import align_rows, row_offsets
from stereo_kd.inference.calibration import read_calibration, Rectifier
from stereo_kd.inference.left_right import fill_border, left_right_check, postprocess
from stereo_kd.inference.tiled import Tiled
from stereo_kd.adapt import adapt, adapt_files
from stereo_kd.inference.sgbm import sgbm
from stereo_kd.inference.confidence import answer_with_confidence, ause, sparsification
from stereo_kd.inference.engines import Auto, list_ways
from stereo_kd.inference.sanity import find_fault
from stereo_kd.inference.predict import PairWarning, predict
from stereo_kd.inference.points import point_cloud, to_depth, write_page, write_ply
from stereo_kd.inference.files import find_pairs, Look, predict_files
from stereo_kd.evaluation.cost import count_macs, count_params, latency, module_table, thop_macs
from stereo_kd.evaluation.benchmarks import benchmark_metrics, evaluated_pixels
from stereo_kd.evaluation.submit import write_submission
from stereo_kd.evaluation.evaluate import compare, evaluate, evaluate_frames, evaluate_masks
from stereo_kd.evaluation.evaluate import from_folder, from_network, from_sgbm
from stereo_kd.finetune import finetune, finetune_files
from stereo_kd.deploy.export import export_onnx, graph_card, quantize_onnx
from stereo_kd.deploy.engine import Engine, list_engines
from stereo_kd.deploy.auto import register_engines
from fastcore.test import *
from stereo_kd.all import *

def test_every_name_is_there():
    import ast, inspect
    import stereo_kd.all as everything
    imported = {a.name for n in ast.parse(inspect.getsource(everything)).body if isinstance(n, ast.ImportFrom) for a in n.names}
    test_eq(everything.__all__, sorted(imported))
    public = """create_model list_models load_model save_model predict StereoDataLoaders stereo_learner DistillCallback Term
    EMACallback PruneCallback prune_loop evaluate export_onnx""".split() # what README and notebooks rely on
    test_eq([n for n in public if n not in imported], [])
    for source in ('synthetic','sceneflow','kitti2015','kitti2012','middlebury','eth3d'):
        assert callable(getattr(everything.StereoDataLoaders, f'from_{source}'))
