"""A run from its first step to its last file: what happens between the steps of a trainer."""

import logging
import time
from contextlib import closing
from typing import Any

from yacs.config import CfgNode

from reidtools import assess, build, processes, reports
from reidtools.api.text_maps import text_maps
from reidtools.config import load as configs
from reidtools.data.samples import Splits
from reidtools.engine import checkpoints, logbook, tracking
from reidtools.engine.interruption import Interruption
from reidtools.engine.trainer import Progress, Trainer
from reidtools.evaluation import Report

LOGGER = logging.getLogger("reidtools")
LOSSES = "Losses on test people"
FINAL = "model_final.pth"
FROZEN_PAUSE = 60  # seconds between checkpoints of a run whose model is frozen


def run_to_end(
    cfg: CfgNode,
    trainer: Trainer,
    tests: dict[str, Splits],
    keeper: checkpoints.Checkpoints,
    best: dict[str, Any],
    tracker: tracking.Tracker | None,
) -> Report:
    """Train to the end: log, save and test as the config says. The figures of the last test.

    A run that was trained to its end before is only tested. The signals that ask to stop are heard
    after a step, and while a test runs at once.
    """
    with Interruption() as interruption:
        trainer.stop = interruption.is_asked
        run = _Run(cfg, trainer, tests, keeper, best, interruption)
        with closing(_logbook(cfg, trainer, keeper, tracker)) as log:
            run.train(log)
        if processes.first():
            run.finish()
    return run.report


class _Run:
    """What a run knows and its trainer does not: its `best` figure, and its last `report`."""

    def __init__(
        self,
        cfg: CfgNode,
        trainer: Trainer,
        tests: dict[str, Splits],
        keeper: checkpoints.Checkpoints,
        best: dict[str, Any],
        interruption: Interruption,
    ):
        self.cfg, self.trainer, self.keeper = cfg, trainer, keeper
        self.best, self.interruption, self.report = best, interruption, Report()
        self.last = cfg.SOLVER.MAX_EPOCH - 1
        self.sides = build.test_sets(cfg, tests, trainer.device)
        self.drawn = {
            name: build.loss_batches(cfg, name, splits, trainer.device)
            for name, splits in tests.items()
        }
        self.draw = text_maps(trainer.objective, keeper.run, cfg.LOG.TEXT_MAPS)
        self.kept = time.monotonic()

    def train(self, log: logbook.Logbook | logbook.Silent) -> None:
        """Train, and do what is due between the steps."""
        ended = self.trainer.epoch > self.last
        for progress in self.trainer:
            log.write(progress)
            self.draw(progress)
            if not (progress.epoch_done or progress.stop) or self._is_too_soon(progress):
                continue
            state = self._keep(progress)  # before the test, which may fail
            if progress.stop:
                LOGGER.warning(
                    "Asked to stop: saved after iteration %d; --resume goes on from there.",
                    progress.iteration,
                )
                self.interruption.stop()
            period, epoch = self.cfg.TEST.EVAL_PERIOD, progress.epoch
            if epoch == self.last or (period and epoch % period == 0):
                self._test(log, epoch, state)
        if ended:
            self._test(log, self.last, self._state())

    def _is_too_soon(self, progress: Progress) -> bool:
        """Of a frozen model an epoch is short, and not each is worth a checkpoint."""
        if not self.trainer.frozen or progress.stop or progress.epoch == self.last:
            return False
        return processes.from_first(lambda: time.monotonic() - self.kept < FROZEN_PAUSE)

    def _state(self) -> dict[str, Any]:
        return self.trainer.state_dict() | {"best": self.best, "config": configs.dump(self.cfg)}

    def _keep(self, progress: Progress) -> dict[str, Any]:
        state, epoch = self._state(), progress.epoch
        self._write(state, epoch, part=not progress.epoch_done)
        self.kept = time.monotonic()
        return state

    def _write(self, state: dict[str, Any], epoch: int, **what: bool) -> None:
        """Save `state`; no process goes on, or ends, before that is done."""
        final = epoch == self.last
        processes.from_first(lambda: self.keeper.keep(state, epoch, final=final, **what))

    def _test(
        self, log: logbook.Logbook | logbook.Silent, epoch: int, state: dict[str, Any]
    ) -> None:
        """Test the model after `epoch`; nothing is new to a test about a frozen one."""
        trainer = self.trainer
        if trainer.frozen:
            return
        with self.interruption.at_once(), trainer.parallel.tested(trainer.result) as model:
            report = assess.report_on(self.cfg, model, self.sides, trainer.amp, final=False)
            for name, own in self.drawn.items():
                if own and (losses := trainer.losses_of(own)):
                    report.add_row(name, losses, LOSSES)
        for title, rows in {"": report.figures, **report.others}.items():
            for name, figures in rows.items():
                log.score(epoch, trainer.iteration, name, figures, title)
        LOGGER.info("After epoch %d\n%s", epoch, report)
        self.report = report
        if report.mAP > self.best["mAP"]:
            state["best"] = self.best = {"epoch": epoch, "mAP": report.mAP}
            self._write(state, epoch, best=True)

    def finish(self) -> None:
        """Write what a run ends with."""
        cfg, folder = self.cfg, self.keeper.run
        final = {"model": self.trainer.result.state_dict(), "config": configs.dump(cfg)}
        checkpoints.save(final, folder / FINAL)
        reports.write_report(cfg, self.report, folder, {"epoch": self.last, "best": self.best})
        files = "\n".join(f"  {path}" for path in sorted({*folder.iterdir(), *self.keeper.written}))
        if not self.trainer.frozen:
            LOGGER.info("Best mAP %.2f after epoch %d.", self.best["mAP"], self.best["epoch"])
        LOGGER.info("Written:\n%s", files)


def _logbook(
    cfg: CfgNode,
    trainer: Trainer,
    keeper: checkpoints.Checkpoints,
    tracker: tracking.Tracker | None,
) -> logbook.Logbook | logbook.Silent:
    """What writes down the run's progress; in all processes but the first nothing does."""
    if not processes.first():
        return logbook.Silent()
    choice = trainer.batches.choice
    return logbook.Logbook(
        keeper.run,
        len(trainer.batches),
        cfg.SOLVER.MAX_EPOCH,
        cfg.SOLVER.IMS_PER_BATCH * (choice.frames if choice else 1),
        trainer.iteration,
        tracker.log if tracker else None,
        first_epoch=trainer.epoch + trainer.position / len(trainer.batches),
        stage=cfg.LOG.STAGE,
    )
