from headrace.batch import Setup as Setup
from headrace.context import current as current
from headrace.contracts import HEADRACE_API as HEADRACE_API
from headrace.drive import Stream as Stream
from headrace.drive.awaited import AsyncStream as AsyncStream
from headrace.errors import AccountError as AccountError
from headrace.errors import ExecutorFailed as ExecutorFailed
from headrace.errors import GraphError as GraphError
from headrace.errors import HeadraceError as HeadraceError
from headrace.errors import ItemLate as ItemLate
from headrace.errors import ItemUnpicklable as ItemUnpicklable
from headrace.errors import LeftoversWarning as LeftoversWarning
from headrace.errors import OperatorFailed as OperatorFailed
from headrace.errors import PipelineFailed as PipelineFailed
from headrace.errors import PipelineTimeout as PipelineTimeout
from headrace.errors import PluginError as PluginError
from headrace.errors import SettingsError as SettingsError
from headrace.errors import WindowTooSmall as WindowTooSmall
from headrace.errors import WorkerLost as WorkerLost
from headrace.operators import Recycle as Recycle
from headrace.operators import Retry as Retry
from headrace.pipeline import Pipeline as Pipeline
from headrace.pipeline import map as map
from headrace.plan import PluginRef as PluginRef
from headrace.profiles import Profile as Profile
from headrace.report import DeadLetter as DeadLetter
from headrace.report import OperatorStats as OperatorStats
from headrace.report import Result as Result
from headrace.report import RunReport as RunReport
from headrace_executors.async_runner import AsyncPipelineExecutor as AsyncPipelineExecutor
from headrace_executors.coroutine import CoroutineExecutor as CoroutineExecutor
from headrace_executors.process.executor import PipelineProcessExecutor as PipelineProcessExecutor
from headrace_executors.serial import SerialExecutor as SerialExecutor
from headrace_executors.thread import PipelineThreadExecutor as PipelineThreadExecutor
from headrace_executors.threaded_runner import ThreadBasedPipelineExecutor as ThreadBasedPipelineExecutor

__version__: str
__all__: list[str]
