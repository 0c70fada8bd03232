// Searches in many cases, from many starts: some at a time, and the nearest first. No DOM.

import { clampAll, times } from "./bounded_step.js";
import { distance } from "./problem.js";
import { ranked, search } from "./solver.js";

// A browser begins so many searches at most, and one in each case.
const MAX_SEARCHES = 512;
const LANES = 64; // searches at a time: their points are evaluated together

// By how far the outcomes at a start that is moved into the box are to miss the target, by its slopes.
function foretold({ target, box, outputSpread }, inputs, { outputs, jacobian }) {
  const moved = clampAll(inputs, box.low, box.high).map((value, j) => value - inputs[j]);
  return distance(target, times(jacobian, moved).map((change, i) => outputs[i] + change), outputSpread);
}

async function inLanes(searches, run) {
  let next = 0;
  const lane = async () => {
    while (next < searches.length) {
      next += 1;
      await run(searches[next - 1]);
    }
  };
  await Promise.all(Array.from({ length: LANES }, lane));
}

// Search in each case, a problem with a box of its own, from all starts, and once more with care where none led to
// the target. With too many for that, each case begins where it is nearest, and then those go on that reached the
// target, and the nearest. Returns for each what `ranked` gives. `tell` is told of each search: the share that is
// done, and what is found so far.
export async function searchAll(problems, starts, tell) {
  const known = await Promise.all(starts.map(problems[0].evaluate));
  const cases = problems.map((problem) => {
    const far = starts.map((start, place) => foretold(problem, start, known[place]));
    const places = [...starts.keys()].sort((a, b) => far[a] - far[b]);
    return { problem, places, far: far[places[0]], ends: [], found: [] };
  });
  const few = cases.length * starts.length <= MAX_SEARCHES;
  const rounds = [...starts.keys()];
  const among = (some, turns, careful) => turns.flatMap((turn) => some.map((one) => ({ one, place: one.places[turn], careful })));
  const first = among(cases.slice().sort((a, b) => a.far - b.far), few ? rounds : [0], false);
  let done = 0;
  const run = async ({ one, place, careful }) => {
    const [end, before] = [await search(one.problem, starts[place], place, { careful }), one.ends[place]];
    if (!before || end.residual < before.residual) one.ends[place] = end;
    one.found = ranked(one.problem, Object.values(one.ends));
    done += 1;
    tell(Math.min(done / (first.length + MAX_SEARCHES), 1), cases.map(({ found }) => found));
  };
  await inLanes(first, run);
  const reached = ({ found }) => found.length > 0 && found[0].converged;
  const lacking = cases.filter((one) => !reached(one));
  const order = ({ found: [best] }) => (best?.converged ? best.worth : (best?.residual ?? Infinity));
  const best = cases.slice().sort((a, b) => reached(b) - reached(a) || order(a) - order(b));
  const none = lacking.length === cases.length;
  const more = few ? among(lacking, rounds, true) : among(best, none ? rounds : rounds.slice(1), none).slice(0, MAX_SEARCHES);
  await inLanes(more, run);
  return cases.map(({ found }) => found);
}
