"""Training on labels that a model estimated, held to what neighbouring pictures show."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from training.config import Config, ConfigError, Phase
from training.contract import canonical_scale, focal_per_width, log_depth, split_confidence
from training.losses.photometric import Neighbours, photometric_loss, photometric_residual
from training.task import DepthTask, loss_of, prepare

PHOTOMETRIC = 'photometric'


def neighbours_of(batch: Mapping[str, Tensor]) -> Neighbours:
    """Take from a batch of training.data.self_labelled what its neighbours show.

    Raises
    ------
    ConfigError
        It is of another data set.
    """
    if 'neighbours' not in batch:
        raise ConfigError('photometric is above 0, but the pictures have no neighbours; it is for '
                          'recordings without depth (training.self_label)')
    return Neighbours(batch['neighbours'].float() / 255, batch['rays'], batch['motions'],
                      batch['neighbour_camera'])


def metres_of(network: nn.Module, prediction: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Metres (B, 1, H, W) of what `network` gives for a batch."""
    scale = canonical_scale(batch['focal_px'], batch['image'].shape[-1], focal_per_width(network))
    canonical = log_depth(split_confidence(prediction)[0], network.output_kind).exp()
    return canonical / scale.view(-1, 1, 1, 1)


class SelfTask(DepthTask):
    """Trains by the loss of the config and, `config.photometric` times, the photometric loss.

    What decides when a phase ends is the photometric error of the val pictures: the labels are
    those of the model that is to become better.
    """

    monitored = PHOTOMETRIC

    def __init__(
        self, network: nn.Module, config: Config, phase: Phase, sources: list[str]
    ) -> None:
        super().__init__(network, config, phase, sources)
        self._weight = config.photometric
        self._residuals: list[Tensor] = []

    def batch_loss(self, batch: dict) -> Tensor:
        """Loss against the labels, and against the neighbouring pictures."""
        image, depth = prepare(batch, self.network)
        prediction = self(batch)
        with torch.autocast(self.device.type, enabled=False):
            of_labels = loss_of(self.loss, prediction, self.network.output_kind, depth, image)
            metres = metres_of(self.network, prediction, batch)
            of_pictures = photometric_loss(
                metres, batch['plain'].float() / 255, neighbours_of(batch))
        return of_labels + self._weight * of_pictures

    def validation_step(self, batch: dict, index: int) -> None:
        """Collect how far each picture is from its label, and from its neighbours."""
        _, depth = prepare(batch, self.network)
        prediction = self(batch)
        self.collect(batch['source'], prediction, depth)
        self._residuals.append(residuals(self.network, prediction, batch))

    def on_validation_epoch_end(self) -> None:
        """Log the means over pictures."""
        super().on_validation_epoch_end()
        found = torch.cat(self._residuals)
        self._residuals = []
        self.log(PHOTOMETRIC, found[found.isfinite()].mean(), prog_bar=True, sync_dist=True)


def residuals(network: nn.Module, prediction: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """Mean photometric error of each picture of a batch, (B,); NaN without neighbours."""
    with torch.autocast(prediction.device.type, enabled=False):
        return photometric_residual(metres_of(network, prediction, batch),
                                    batch['plain'].float() / 255, neighbours_of(batch))
