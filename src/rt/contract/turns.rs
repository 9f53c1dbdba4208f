//! Cases about turns themselves: timers, mail, stopping.

use bytes::Bytes;

use super::{Acting, CASE_MS_MAX, Rig};
use crate::base::ids::CoreId;
use crate::base::prng::Prng;
use crate::base::time::{Mono, Now};
use crate::port::disk::{DiskOp, DiskOutput};
use crate::port::turn::{Effects, Inputs, Machine, NextWake, Token};

/// Panics when a case takes too long.
#[derive(Debug, Default)]
struct Patience(Option<Mono>);

impl Patience {
    fn check(&mut self, now: Now, what: &str) -> NextWake {
        let until = *self.0.get_or_insert(now.mono.plus_ms(CASE_MS_MAX));
        assert!(now.mono < until, "took too long: {what}");
        NextWake::At(until)
    }
}

/// A wake comes not before its time and, on a machine with a little room, at most 20 ms after it.
pub fn timers_are_never_early_and_seldom_late(rig: &impl Rig) {
    rig.run(1, None, |_| {
        let mut due: Option<Mono> = None;
        let mut late_ns: Vec<u64> = Vec::new();
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            assert!(inputs.is_empty(), "nobody sent anything");
            if let Some(due) = due {
                assert!(now.mono >= due, "{} ns early", due - now.mono);
                late_ns.push(now.mono - due);
            }
            if late_ns.len() == 11 {
                late_ns.sort_unstable();
                // The median: the machine that runs the tests may be busy now and then.
                assert!(late_ns[5] <= 20_000_000, "late by {late_ns:?} ns");
                effects.stopped = true;
                return NextWake::Never;
            }
            // From 0.3 ms to 15 ms.
            let wake = now.mono + (300_000 + late_ns.len() as u64 * 1_400_000);
            due = Some(wake);
            NextWake::At(wake)
        })
    });
}

/// A time that has passed already, and `Now`, mean the next turn comes at once.
pub fn work_left_over_gets_its_turn_at_once(rig: &impl Rig) {
    rig.run(1, None, |_| {
        let mut turns = 0u32;
        let mut patience = Patience::default();
        Acting(move |now: Now, _: Inputs<u64>, effects: &mut Effects<u64>| {
            patience.check(now, "a thousand turns in a row");
            turns += 1;
            effects.stopped = turns == 1000;
            if turns.is_multiple_of(2) { NextWake::Now } else { NextWake::At(now.mono) }
        })
    });
}

/// A machine that wants nothing is left alone until something happens, and is woken then.
pub fn an_idle_core_sleeps_until_mail_comes(rig: &impl Rig) {
    rig.run(2, None, |core| {
        let mut turns = 0;
        let mut first: Option<Mono> = None;
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            turns += 1;
            let start = *first.get_or_insert(now.mono);
            if core == CoreId(0) {
                if turns == 1 {
                    return NextWake::Never;
                }
                assert_eq!(inputs.mail, vec![(CoreId(1), vec![42])], "the second turn is that of the mail");
                assert!(now.mono.ms_since(start) < CASE_MS_MAX, "woken too late");
                effects.stopped = true;
                return NextWake::Never;
            }
            let wake = start.plus_ms(80);
            if now.mono < wake {
                return NextWake::At(wake);
            }
            effects.mail.push((CoreId(0), vec![42]));
            effects.stopped = true;
            NextWake::Never
        })
    });
}

/// Two idle cores pass one number back and forth: every step wakes the other one.
pub fn cores_wake_one_another(rig: &impl Rig) {
    const STEPS: u64 = 2000;
    rig.run(2, None, |core| {
        let mut patience = Patience::default();
        let mut begun = false;
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            let wait = patience.check(now, "ping-pong");
            let other = CoreId(1 - core.0);
            if core == CoreId(0) && !begun {
                begun = true;
                effects.mail.push((other, vec![1]));
            }
            for (from, numbers) in inputs.mail {
                assert_eq!(from, other);
                for number in numbers {
                    if number <= STEPS {
                        effects.mail.push((other, vec![number + 1]));
                    }
                    effects.stopped |= number >= STEPS;
                }
            }
            wait
        })
    });
}

/// Sends `total` numbers to every core (itself too), in batches of random sizes, and checks what it gets.
fn correspondent(core: CoreId, cores: u16, total: u64, slow: bool) -> impl Machine<Message = u64> {
    let mut random = Prng::new(u64::from(core.0) + 1);
    let mut sent = vec![0; usize::from(cores)];
    let mut received = vec![0; usize::from(cores)];
    let mut patience = Patience::default();
    Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
        let wait = patience.check(now, &format!("core {}: sent {sent:?}, received {received:?}", core.0));
        let mut senders: Vec<u16> = inputs.mail.iter().map(|(from, _)| from.0).collect();
        senders.dedup();
        assert_eq!(senders.len(), inputs.mail.len(), "more than one batch of a sender in one turn");
        for (from, numbers) in inputs.mail {
            assert!(!numbers.is_empty(), "an empty batch");
            for number in numbers {
                let expected = &mut received[usize::from(from.0)];
                assert_eq!(number, *expected, "core {} got mail of core {} out of order", core.0, from.0);
                *expected += 1;
            }
        }
        for (to, sent) in sent.iter_mut().enumerate() {
            let batch = if slow { 1 } else { random.below(100) };
            let until = (*sent + batch).min(total);
            if until > *sent {
                effects.mail.push((CoreId(to as u16), (*sent..until).collect()));
                *sent = until;
            }
        }
        let all = |counts: &[u64]| counts.iter().all(|&count| count == total);
        effects.stopped = all(&sent) && all(&received);
        if all(&sent) { wait } else { NextWake::Now }
    })
}

/// Ten thousand messages for every pair of cores arrive once and in order, in both directions at the same time.
pub fn mail_keeps_its_order(rig: &impl Rig) {
    for cores in [1, 2, 4] {
        rig.run(cores, None, move |core| correspondent(core, cores, 10_000, false));
    }
}

/// A sender that is much faster than its receiver loses nothing: what does not fit waits, in order.
pub fn mail_to_a_slow_core_waits(rig: &impl Rig) {
    rig.run(2, None, |core| {
        let mut machine = correspondent(core, 2, 3000, true);
        let mut turns = 0;
        Acting(move |now: Now, mut inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            turns += 1;
            if core == CoreId(1) && turns < 40 {
                // Longer than the other core needs to fill any queue.
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
            machine.turn(now, &mut inputs, effects)
        })
    });
}

/// A wish to stop wakes an idle machine; it is told once and for all, and what its last turn asked for is carried out.
pub fn stop_wakes_every_machine_and_its_last_effects_are_carried_out(rig: &impl Rig) {
    rig.run(2, Some(30), |core| {
        let mut reading = false;
        let mut patience = Patience::default();
        Acting(move |now: Now, inputs: Inputs<u64>, effects: &mut Effects<u64>| {
            let text = Bytes::from_static(b"stopped in order");
            let path = format!("core-{}", core.0);
            if !inputs.stop && inputs.mail.is_empty() && !reading {
                return NextWake::Never;
            }
            let wait = patience.check(now, "the other core's file never came");
            if core == CoreId(1) {
                // The mail and the file are the last effects of this core.
                effects.disk.push((Token(1), DiskOp::WriteFile { path, data: text }));
                effects.mail.push((CoreId(0), vec![1]));
                effects.stopped = true;
                return NextWake::Never;
            }
            let mut found = false;
            for (_, result) in inputs.disk {
                match result {
                    Ok(DiskOutput::Data(data)) => {
                        assert_eq!(data, text);
                        found = true;
                    }
                    // Not yet there: the mail may overtake the file.
                    Err(_) => reading = false,
                    Ok(other) => panic!("{other:?}"),
                }
            }
            assert!(inputs.stop, "a stop stays");
            effects.stopped = found;
            if !found && !reading {
                reading = true;
                let op = DiskOp::ReadFile { path: "core-1".to_owned(), len_max: 100 };
                effects.disk.push((Token(2), op));
            }
            wait
        })
    });
}
