//! Tiles cut and put against the formula, and faults planted into these kernels.

use emulator::half::{bf16_to_f32, f16_to_f32};
use emulator::{DeviceMemory, Fault, Kind, Module};
use proptest::prelude::*;

use crate::support::{Parameters, Random, Shape, distance, download, launch, module, ptx, upload};

/// One move of tiles: sizes, the columns around them, the turn.
#[derive(Debug, Clone, Copy)]
struct Case {
    sequences: usize,
    length: usize,
    channels: usize,
    rank: usize,
    first: usize,
    behind: usize,
    turn: i32,
    scale: f32,
    seed: u64,
}

impl Case {
    fn stride(&self) -> usize {
        self.first + self.channels * self.rank + self.behind
    }
    fn entries(&self) -> usize {
        self.sequences * self.channels * self.length * self.rank
    }
    fn numbers(&self, count: usize, which: u64) -> Vec<f32> {
        let mut random = Random(self.seed * 2 + which + 1);
        (0..count).map(|_| random.normal()).collect()
    }
    /// Cosines and sines as the host makes them.
    fn table(&self) -> [Vec<f32>; 2] {
        let half = self.rank / 2;
        let angle = |entry: usize| {
            let (place, k) = (entry / half, entry % half);
            place as f64 * 1e4f64.powf(-2.0 * k as f64 / self.rank as f64)
        };
        let of = |f: fn(f64) -> f64| (0..self.length * half).map(|e| f(angle(e)) as f32).collect();
        [of(f64::cos), of(f64::sin)]
    }
    /// Places in the tile and in the wide matrix of both columns of every pair, with its turn.
    fn pairs(&self) -> Vec<([usize; 2], [usize; 2], f64)> {
        let half = self.rank / 2;
        let mut all = Vec::new();
        for row in 0..self.sequences * self.channels * self.length {
            let (place, above) = (row % self.length, row / self.length);
            let (channel, sequence) = (above % self.channels, above / self.channels);
            let wide = (sequence * self.length + place) * self.stride() + self.first;
            let wide = wide + channel * self.rank;
            for k in 0..half {
                let angle = place as f64 * 1e4f64.powf(-2.0 * k as f64 / self.rank as f64);
                let tile = row * self.rank + k;
                let angle = f64::from(self.turn) * angle;
                all.push(([tile, tile + half], [wide + k, wide + k + half], angle));
            }
        }
        all
    }
    fn turned(&self, pair: [f32; 2], angle: f64) -> [f64; 2] {
        let [x, y] = pair.map(|value| f64::from(self.scale) * f64::from(value));
        [x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()]
    }
    fn go(
        &self,
        (module, name): (&Module, &str),
        memory: &mut DeviceMemory,
        from: u64,
        to: &[u64],
    ) -> Result<(), Fault> {
        // Without a turn the table is not read: it is not there.
        let table = match self.turn {
            0 => [0, 0],
            _ => self.table().map(|values| upload(memory, &values)),
        };
        let sizes = [self.sequences, self.length, self.channels, self.rank];
        let mut given = Parameters::default().long(from);
        for size in sizes.into_iter().chain([self.stride(), self.first]) {
            given = given.word(size as u32);
        }
        given = given.word(self.turn as u32).single(self.scale).long(table[0]).long(table[1]);
        given = to.iter().fold(given, |given, &address| given.long(address));
        let grid = [(self.entries() / 2).div_ceil(256) as u32, 1];
        let shape = Shape { grid, threads: 256, dynamic_shared_bytes: 0 };
        launch(module, name, shape, &given, memory).map(drop)
    }
    fn cut(&self, module: &Module, name: &str, parts: usize) -> Result<Vec<Vec<u16>>, Fault> {
        let mut memory = DeviceMemory::default();
        let wide = self.numbers(self.sequences * self.length * self.stride(), 0);
        let from = upload(&mut memory, &wide);
        let to: Vec<u64> = (0..parts).map(|_| memory.allocate(2 * self.entries())).collect();
        self.go((module, name), &mut memory, from, &to)?;
        to.iter().map(|&address| download(&mut memory, address, self.entries())).collect()
    }
    /// What a cut gives in f64.
    fn cut_exactly(&self) -> Vec<f64> {
        let wide = self.numbers(self.sequences * self.length * self.stride(), 0);
        let mut tile = vec![0.0; self.entries()];
        for (places, columns, angle) in self.pairs() {
            let turned = self.turned(columns.map(|column| wide[column]), angle);
            places.into_iter().zip(turned).for_each(|(place, value)| tile[place] = value);
        }
        tile
    }
    /// The wide matrix after a put, what lies beside the tiles included.
    fn put(&self, module: &Module) -> Result<Vec<f32>, Fault> {
        let mut memory = DeviceMemory::default();
        let from = upload(&mut memory, &self.numbers(self.entries(), 1));
        let to = upload(&mut memory, &vec![7f32; self.sequences * self.length * self.stride()]);
        self.go((module, "put"), &mut memory, from, &[to])?;
        download(&mut memory, to, self.sequences * self.length * self.stride())
    }
    fn put_exactly(&self) -> Vec<f64> {
        let tile = self.numbers(self.entries(), 1);
        let mut wide = vec![7.0; self.sequences * self.length * self.stride()];
        for (places, columns, angle) in self.pairs() {
            let turned = self.turned(places.map(|place| tile[place]), angle);
            columns.into_iter().zip(turned).for_each(|(column, value)| wide[column] = value);
        }
        wide
    }
    /// What is wrong with the kernels of `module`, if anything.
    fn wrong(&self, module: &Module) -> Result<Option<String>, Fault> {
        let exact = self.cut_exactly();
        let singles = |parts: &[u16], widen: fn(u16) -> f32| {
            parts.iter().map(|&bits| widen(bits)).collect::<Vec<f32>>()
        };
        let half = self.cut(module, "cut_bf16", 1)?;
        let bf16 = distance(&singles(&half[0], bf16_to_f32), &exact);
        let halves = self.cut(module, "cut_halves", 2)?;
        let [leading, rest] = [0, 1].map(|part| singles(&halves[part], f16_to_f32));
        let sum: Vec<f32> = leading.iter().zip(&rest).map(|(a, b)| a + b).collect();
        let (first, both) = (distance(&leading, &exact), distance(&sum, &exact));
        let put = distance(&self.put(module)?, &self.put_exactly());
        // A pair's norm stays when it is turned, so relative errors of roundings add up: five of
        // f32 (table, two products, sum), then 8 bits, 11 bits, or 22 bits and the spacing of the
        // smallest halves.
        let turn = 5.0 * 2f64.powi(-24);
        let size = exact.iter().map(|x| x * x).sum::<f64>() / exact.len() as f64;
        let halves = turn + 2f64.powi(-22) + 2f64.powi(-24) / size.sqrt();
        let fine = bf16 < turn + 2f64.powi(-8)
            && first < turn + 2f64.powi(-11) + halves
            && both < halves
            && put < turn;
        Ok((!fine).then(|| format!("bf16 {bf16:.1e}, {first:.1e}, {both:.1e}, put {put:.1e}")))
    }
}

fn ragged() -> Case {
    Case {
        sequences: 2,
        length: 13,
        channels: 3,
        rank: 10,
        first: 4,
        behind: 5,
        turn: 1,
        scale: 4.0,
        seed: 3,
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 24,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]
    #[test]
    fn parity_of_cut_and_put_with_their_formula(
        (sequences, length, channels) in (1usize..4, 1usize..20, 1usize..4),
        half in 1usize..20,
        (first, behind) in (0usize..9, 0usize..9),
        turn in -1i32..=1,
        power in -2i32..3,
        seed in 1u64..1000,
    ) {
        let scale = 2f32.powi(power);
        let rank = 2 * half;
        let case = Case { sequences, length, channels, rank, first, behind, turn, scale, seed };
        match case.wrong(&module("rotary")) {
            Ok(wrong) => prop_assert_eq!(wrong, None, "{:?}", case),
            Err(fault) => return Err(TestCaseError::fail(fault.to_string())),
        }
    }
}

#[test]
fn invariant_faults_in_moves_of_tiles_are_named() {
    let text = ptx("rotary");
    let case = ragged();
    assert_eq!(case.wrong(&Module::parse(&text).unwrap()).unwrap(), None, "nothing is planted");
    let lines: Vec<&str> = text.lines().collect();
    let mut planted = [0; 3];
    for (at, line) in lines.iter().enumerate() {
        let changes = [
            // A forgotten store: of a tile it is never written, of the wide matrix the old stays.
            line.contains("st.global").then(String::new),
            line.contains("st.global").then(|| line.replacen(']', "+1048576]", 1)),
            line.contains("setp.ge.u64").then(|| line.replacen(".ge.", ".gt.", 1)),
        ];
        for (kind, changed) in changes.into_iter().enumerate() {
            let Some(changed) = changed else { continue };
            if changed.matches('+').count() > 1 {
                continue;
            }
            let mut text = lines.clone();
            text[at] = &changed;
            let shown = case.wrong(&Module::parse(&text.join("\n")).expect("still PTX"));
            let named = match (kind, &shown) {
                (0, Err(fault)) => fault.kind == Kind::Unwritten,
                (_, Err(fault)) => fault.kind == Kind::OutOfBounds,
                (_, Ok(wrong)) => wrong.is_some(),
            };
            assert!(named, "{line}: {shown:?}");
            planted[kind] += 1;
        }
    }
    assert!(planted.iter().all(|&count| count > 0), "{planted:?}");
}
