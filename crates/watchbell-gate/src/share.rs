//! Who gets one of the places that all take from, and how much of the kernel's memory goes with it.

/// Places of one kind: so many for all, and never more than so many for one pod.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Places {
    pub(crate) of_all: usize,
    pub(crate) of_pod: usize,
}

/// How many are taken: by all, by the pods of one namespace, by the one that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Taken {
    pub(crate) by_all: usize,
    pub(crate) by_namespace: usize,
    pub(crate) by_pod: usize,
}

/// This part of the places is for pods that have none.
const KEPT: usize = 8;

impl Places {
    /// A namespace has no more than it leaves for others, and a pod no more than its namespace could still take. A pod that has none
    /// gets one of those that are kept, unless its namespace has half of all.
    pub(crate) fn has_one(self, taken: Taken) -> bool {
        if taken.by_pod == 0 {
            return taken.by_all < self.of_all && taken.by_namespace < self.of_all.div_ceil(2);
        }
        let free = self.of_all.saturating_sub(taken.by_all + self.of_all / KEPT);
        taken.by_pod < self.of_pod.min(free.saturating_sub(taken.by_namespace))
    }
}

/// On the side of the pod, which is near, the kernel holds so much of a connection each way for a side that does not read. Here and
/// below it is what is asked for: the kernel takes twice as much, and counts what it needs itself in it. Less than a packet of a
/// loopback interface, and the kernel waits for what cannot come.
pub(crate) const NEAR: usize = 64 << 10;

/// So many connections of a namespace may have what a long way takes.
const WIDE: usize = 16;
/// The others share this: the nth has one part in n of it,
const SHARED: usize = 4 << 20;
/// and no less than this.
const FAR_MIN: usize = 16 << 10;

/// What the kernel holds on the other side of the latest connection of a namespace that has so many. `None`: what it finds right for
/// a way so long, up to the machine's `tcp_rmem` and `tcp_wmem`.
///
/// Those that are open had no more than so many beside them when they were the latest: however connections come and go, the
/// namespace has no more than by making them one after another.
pub(crate) fn far(connections: usize) -> Option<usize> {
    (connections > WIDE).then(|| (SHARED / connections).max(FAR_MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_connections_hold_little_more_than_some() {
        // Both ways, and twice what is asked for.
        let held = |connections: usize| -> usize { (1..=connections).filter_map(far).map(|of| 4 * of).sum() };
        assert_eq!((far(0), far(WIDE), far(WIDE + 1)), (None, None, Some(SHARED / (WIDE + 1))));
        assert_eq!(far(1024), Some(FAR_MIN));
        assert!(held(1024) < 100 << 20, "{}", held(1024));
        assert!(held(4096) < 300 << 20, "{}", held(4096));
        // None has more than one that came before it.
        assert!((WIDE + 1..5000).all(|nth| far(nth) >= far(nth + 1)));
    }

    const PLACES: Places = Places { of_all: 8192, of_pod: 1024 };

    /// What each pod of each namespace has.
    #[derive(Default)]
    struct World(Vec<Vec<usize>>);

    impl World {
        /// New pods, each of which takes all that it gets up to `most`; how many they have together.
        fn take(&mut self, namespace: usize, pods: usize, most: usize) -> usize {
            self.0.resize(self.0.len().max(namespace + 1), Vec::new());
            (0..pods)
                .map(|_| {
                    let mut by_pod = 0;
                    let by_namespace = |world: &Self| world.0[namespace].iter().sum::<usize>();
                    let others: usize = self.0.iter().flatten().sum();
                    let of_namespace = by_namespace(self);
                    while by_pod < most
                        && PLACES.has_one(Taken {
                            by_all: others + by_pod,
                            by_namespace: of_namespace + by_pod,
                            by_pod,
                        })
                    {
                        by_pod += 1;
                    }
                    self.0[namespace].push(by_pod);
                    by_pod
                })
                .sum()
        }
    }

    #[test]
    fn a_namespace_leaves_as_much_as_it_takes() {
        let mut world = World::default();
        assert_eq!(world.take(0, 1, usize::MAX), 1024, "one pod has its own bound");
        assert!(world.take(0, 1000, usize::MAX) < 8192 / 2 - 1024 + 1);
        // Another namespace has room, though there were a thousand pods that take all they get.
        assert_eq!(world.take(1, 1, usize::MAX), 1024);
        assert!(world.take(2, 1, usize::MAX) > 500);
    }

    #[test]
    fn a_pod_that_has_none_gets_one_however_greedy_the_others_of_its_namespace_are() {
        let mut world = World::default();
        assert!(world.take(0, 18, usize::MAX) > 3000);
        assert_eq!(world.take(0, 100, 1), 100);
        assert!(world.take(1, 18, usize::MAX) > 500);
        assert_eq!(world.take(1, 100, 1), 100);
        // Whatever another namespace took since.
        assert_eq!(world.take(0, 100, 1), 100);
    }

    #[test]
    fn few_places_are_shared_too() {
        let few = Places { of_all: 4, of_pod: 1000 };
        let has_one = |by_all, by_pod| few.has_one(Taken { by_all, by_namespace: by_pod, by_pod });
        assert!(has_one(0, 0) && has_one(1, 1) && !has_one(2, 2));
        assert!(has_one(2, 0) && !has_one(4, 0));
    }
}
