"""Recurrent PPO on a task that needs memory: python examples/recurrent_ppo.py

A T-maze (Bakker 2001): a sign at the start of a corridor says which arm of the fork at its end holds the reward, and
nothing else does. Sixteen mazes run side by side and end at different times, so that every rollout has episodes that
begin within it. One file in the style of CleanRL, with gymnasium's vector environments and PPO as in Schulman et al.
2017; the LSTM is that of bptt.torch, which takes the beginnings of episodes as reset=, or that of torch.nn in a loop
over the steps. Printed are, for each and for an LSTM that forgets at every step, the share of the last episodes that
ended at the reward and the environment steps per second of one processor. Without memory it stays at a half: chance.
"""

import argparse
import time
from collections import deque
from dataclasses import dataclass, fields, replace

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import nn
from torch.distributions import Categorical

import bptt.torch


@dataclass(frozen=True)
class Args:
    library: str = "both"  # whose LSTM: bptt, torch or both
    total_steps: int = 60_000  # of all environments together
    num_envs: int = 16
    num_steps: int = 128  # of a rollout, in each environment
    corridor: int = 12  # length of the longest corridor
    hidden: int = 128
    forget_bias: float = 1.0
    epochs: int = 4
    minibatches: int = 4  # each has num_envs / minibatches whole sequences
    lr: float = 2e-3
    gamma: float = 0.98
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value: float = 0.5
    max_grad_norm: float = 0.5
    seed: int = 1


# ---- the task -------------------------------------------------------------------------------------------


FORWARD, LEFT, RIGHT = range(3)


class TMaze(gym.Env):
    """Sees (sign, whether this is the fork): the sign is -1 or 1 at the start and 0 elsewhere."""

    observation_space = gym.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gym.spaces.Discrete(3)

    def __init__(self, longest):
        self.longest = longest

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.sign = int(self.np_random.choice([-1, 1]))
        self.length = int(self.np_random.integers(self.longest // 2, self.longest + 1))
        self.place = self.time = 0
        return self.observed(), {}

    def observed(self):
        return np.array([self.sign if self.place == 0 else 0, self.place == self.length], np.float32)

    def step(self, action):
        self.time += 1
        if self.place == self.length and action != FORWARD:
            won = action == (LEFT if self.sign < 0 else RIGHT)
            return self.observed(), 1.0 if won else -1.0, True, False, {}
        moves = action == FORWARD and self.place < self.length
        self.place += moves
        lost = self.time == 6 * self.length  # part of the task, so the episode has ended and not been cut off
        return self.observed(), -1.0 if lost else 0.0 if moves else -0.05, lost, False, {}


def make_envs(args):
    """With SAME_STEP the observation that comes with the end of an episode is the first of the next one."""
    makers = [lambda: TMaze(args.corridor)] * args.num_envs
    return SyncVectorEnv(makers, autoreset_mode=AutoresetMode.SAME_STEP)


# ---- the agent ------------------------------------------------------------------------------------------


class LoopLSTM(nn.LSTM):
    """torch.nn's LSTM with resets: it has none, so that it takes the steps one by one."""

    def forward(self, x, hx, reset):
        outputs = []
        for x_t, begins in zip(x, reset, strict=True):
            kept = (~begins).to(x.dtype)[:, None]
            y, hx = super().forward(x_t[None], (kept * hx[0], kept * hx[1]))
            outputs.append(y)
        return torch.cat(outputs), hx


class Agent(nn.Module):
    def __init__(self, args, library, memory):
        super().__init__()
        self.memory = memory
        self.lstm = (bptt.torch.LSTM if library == "bptt" else LoopLSTM)(2, args.hidden)
        self.actor, self.critic = nn.Linear(args.hidden, 3), nn.Linear(args.hidden, 1)
        nn.init.orthogonal_(self.actor.weight, 0.01)
        nn.init.zeros_(self.actor.bias)
        with torch.no_grad():  # forget gates that begin open: the sign gets through the corridor
            self.lstm.bias_ih_l0[args.hidden : 2 * args.hidden] += args.forget_bias

    def first_state(self, rows):
        return (torch.zeros(1, rows, self.lstm.hidden_size),) * 2

    def forward(self, obs, state, begins):
        """(distribution of actions, values, state) for obs (T,B,2) and the steps at which an episode begins (T,B)."""
        if not self.memory:
            begins = torch.ones_like(begins)
        hidden, state = self.lstm(obs, state, reset=begins)
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1), state


# ---- learning -------------------------------------------------------------------------------------------


class Rollout:
    """Steps of all environments in order; what the agent sees next and its state then go on to the next rollout."""

    def __init__(self, args, envs):
        obs, _ = envs.reset(seed=args.seed)
        self.args, self.envs = args, envs
        self.next_obs, self.next_begins = torch.from_numpy(obs), torch.ones(args.num_envs, dtype=torch.bool)
        self.ends = deque(maxlen=500)  # of the last episodes: whether at the reward
        shape = args.num_steps, args.num_envs
        self.obs, self.begins = torch.zeros(*shape, 2), torch.zeros(shape, dtype=torch.bool)
        self.actions = torch.zeros(shape, dtype=torch.long)
        self.logprobs, self.values, self.rewards = torch.zeros(3, *shape)

    @torch.no_grad()
    def collect(self, agent, state):
        """Fills the rollout; returns the state after it."""
        self.state = state  # that before its first step: backward begins there
        for t in range(self.args.num_steps):
            self.obs[t], self.begins[t] = self.next_obs, self.next_begins
            policy, value, state = agent(self.next_obs[None], state, self.next_begins[None])
            action = policy.sample()
            self.actions[t], self.logprobs[t], self.values[t] = action[0], policy.log_prob(action)[0], value[0]
            obs, reward, terminated, truncated, _ = self.envs.step(action[0].numpy())
            done = terminated | truncated
            self.ends.extend(reward[done] > 0)
            self.rewards[t] = torch.from_numpy(reward)
            self.next_obs, self.next_begins = torch.from_numpy(obs), torch.from_numpy(done)
        _, self.next_value, _ = agent(self.next_obs[None], state, self.next_begins[None])
        return state

    def advantages(self):
        """Generalised advantages (Schulman et al. 2016); nothing flows back over the end of an episode."""
        args, found = self.args, torch.zeros_like(self.rewards)
        values = torch.cat([self.values, self.next_value])
        lives = (~torch.cat([self.begins[1:], self.next_begins[None]])).float()
        last = 0.0
        for t in reversed(range(args.num_steps)):
            delta = self.rewards[t] + args.gamma * values[t + 1] * lives[t] - values[t]
            found[t] = last = delta + args.gamma * args.gae_lambda * lives[t] * last
        return found


def update(agent, optimizer, rollout, args):
    """Several epochs over the rollout, in minibatches of whole sequences: an LSTM needs its steps in order."""
    advantages = rollout.advantages()
    returns = advantages + rollout.values
    for _ in range(args.epochs):
        for rows in torch.randperm(args.num_envs).chunk(args.minibatches):
            state = tuple(part[:, rows] for part in rollout.state)
            policy, values, _ = agent(rollout.obs[:, rows], state, rollout.begins[:, rows])
            ratio = (policy.log_prob(rollout.actions[:, rows]) - rollout.logprobs[:, rows]).exp()
            wanted = advantages[:, rows]
            wanted = (wanted - wanted.mean()) / (wanted.std() + 1e-8)
            policy_loss = -torch.min(wanted * ratio, wanted * ratio.clamp(1 - args.clip, 1 + args.clip)).mean()
            value_loss = 0.5 * (values - returns[:, rows]).square().mean()
            loss = policy_loss + args.value * value_loss - args.entropy * policy.entropy().mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(agent.parameters(), args.max_grad_norm)
            optimizer.step()


def train(args, library, memory):
    """(share of the last episodes that ended at the reward, steps per second, those of learning alone)."""
    torch.manual_seed(args.seed)
    envs = make_envs(args)
    agent = Agent(args, library, memory)
    optimizer = torch.optim.Adam(agent.parameters(), lr=args.lr, eps=1e-5)
    rollout, state = Rollout(args, envs), agent.first_state(args.num_envs)
    updates = max(1, args.total_steps // (args.num_envs * args.num_steps))
    acting = learning = 0.0
    for number in range(updates):
        optimizer.param_groups[0]["lr"] = args.lr * (1 - number / updates)
        began = time.process_time()
        state = rollout.collect(agent, state)
        collected = time.process_time()
        update(agent, optimizer, rollout, args)
        acting, learning = acting + collected - began, learning + time.process_time() - collected
    envs.close()
    steps = updates * args.num_envs * args.num_steps
    return np.mean(rollout.ends), steps / (acting + learning), steps / acting, steps / learning


def main(args):
    torch.set_num_threads(1)  # so that seconds of the processor are seconds
    runs = [(library, True) for library in ("bptt", "torch") if args.library in (library, "both")]
    speeds = {}
    print(f"{args.total_steps:,} steps of {args.num_envs} T-mazes, corridors of up to {args.corridor} steps\n")
    print(f"{'LSTM':22} {'at the reward':>13} {'steps/s':>8} {'acting':>8} {'learning':>8}")
    for library, memory in [*runs, (runs[0][0], False)]:
        won, speed, acting, learning = train(args, library, memory)
        speeds.setdefault(library, (speed, learning))
        name = library + ("" if memory else ", without memory")
        print(f"{name:22} {won:13.1%} {speed:8,.0f} {acting:8,.0f} {learning:8,.0f}", flush=True)
    if len(speeds) == 2:
        all_steps, learning = np.divide(speeds["bptt"], speeds["torch"])
        print(f"\nbptt beside torch: {all_steps:.1f} x the steps per second, {learning:.1f} x those of learning")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for field in fields(Args):
        choices = ("bptt", "torch", "both") if field.name == "library" else None
        name = "--" + field.name.replace("_", "-")
        parser.add_argument(name, type=field.type, default=field.default, choices=choices)
    parser.add_argument("--quick", action="store_true", help="short corridors, a few seconds")
    given = vars(parser.parse_args())
    quick, args = given.pop("quick"), Args(**given)
    for name in ("total_steps", "num_envs", "num_steps", "hidden", "epochs", "minibatches"):
        if getattr(args, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if args.corridor < 2 or args.minibatches > args.num_envs:
        parser.error("--corridor must be at least 2, --minibatches at most --num-envs")
    return replace(args, total_steps=12_288, num_steps=64, corridor=2, hidden=32, lr=5e-3) if quick else args


if __name__ == "__main__":
    main(parse())
