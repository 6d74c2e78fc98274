"""LSTM with a residual connection, between the convolutions of EnCodec (Défossez et al. 2022)."""

from torch import Tensor, nn

LSTMState = tuple[Tensor, Tensor]


class ResidualLSTM(nn.Module):
    """y = lstm(x) + x over time; causal.

    Shape:
        forward: (B, C, T) -> (B, C, T)
        step: the same; state is the pair (hidden, cell), each (num_layers, B, C)
    """

    def __init__(self, channels: int, *, num_layers: int = 2):
        super().__init__()
        self.lstm = nn.LSTM(channels, channels, num_layers, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T)."""
        return self.step(x)[0]

    def step(self, x: Tensor, state: LSTMState | None = None) -> tuple[Tensor, LSTMState]:
        """(B, C, T), state -> (B, C, T), state."""
        y, state = self.lstm(x.transpose(1, 2), state)
        return y.transpose(1, 2) + x, state
