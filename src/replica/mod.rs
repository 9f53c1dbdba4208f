//! Floor 4: one partition's replication, as arithmetic. A single node is the leader of every partition it holds, with
//! itself as the whole ISR; followers, ISR changes and truncation join this floor with the second node.

pub mod leader;
