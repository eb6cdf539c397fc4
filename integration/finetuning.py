"""A provider that trains nothing: it takes the examples, and serves the model that was there before."""

from typing import Any

from dspy.clients.provider import Provider, ReinforceJob, TrainingJob


class FakeTrainingJob(TrainingJob):
    """A job of supervised training."""

    def status(self) -> str:
        """How far it is."""
        return "done" if self.done() else "running"


class FakeReinforceJob(ReinforceJob):
    """A job of reinforcement learning that asks for one batch a step, and keeps what it is given."""

    def initialize(self) -> None:
        self.batches: list[Any] = []
        self.ended = False

    def get_status(self) -> dict[str, Any]:
        """The batches that it waits for."""
        return {"job_id": "job-1", "status": "running", "pending_batch_ids": [len(self.batches)]}

    def step(self, train_data: list[Any], train_data_format: Any = None) -> None:
        self.batches.append(train_data)

    def terminate(self) -> None:
        self.ended = True

    def save_checkpoint(self, checkpoint_name: str) -> None:
        raise NotImplementedError


class FakeProvider(Provider):
    """Fine-tunes in no time: what it is asked to train answers as before, under the name `finetuned`."""

    def __init__(self) -> None:
        super().__init__()
        self.finetunable = self.reinforceable = True
        self.TrainingJob, self.ReinforceJob = FakeTrainingJob, FakeReinforceJob

    @staticmethod
    def finetune(job: TrainingJob, model: str, train_data: list[Any], *_: Any, **__: Any) -> str:
        assert train_data, "nothing to train on"
        return model.rpartition("/")[0] + "/finetuned"
