from satae.api.result import Result as Result
from satae.api.scenes import open_scene as open_scene
from satae.api.score import score as score
from satae.api.tile import tile as tile
from satae.api.train import train as train
from satae.errors import SataeError as SataeError
from satae.inference.runtime import Model as Model
from satae.scene.scene import Limits as Limits
from satae.scene.scene import Scene as Scene

__version__: str
