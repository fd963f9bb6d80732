//! Every kind of fault, each from a kernel of a few lines that commits it.

use emulator::{DeviceMemory, Fault, Kind, Module};

use crate::support::{Parameters, Shape, download, launch, upload};

/// A kernel `k` of one pointer, with `shared` bytes of its own and `body` as its code.
fn kernel(shared: usize, body: &str) -> Module {
    let text = format!(
        ".version 9.0\n.target sm_80\n.address_size 64\n\n.visible .entry k(\n\
         .param .u64 k_param_0\n)\n{{\n.reg .pred %p<4>;\n.reg .b32 %r<8>;\n.reg .b64 %rd<8>;\n\
         .shared .align 16 .b8 s[{shared}];\n\
         ld.param.u64 %rd1, [k_param_0];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n\
         mov.u32 %r5, s;\n{body}\nret;\n}}\n"
    );
    Module::parse(&text).unwrap_or_else(|fault| panic!("{fault}"))
}

/// Runs it on eight zeros; gives what they are afterwards.
fn run(module: &Module, blocks: u32, threads: u32) -> Result<Vec<u32>, Fault> {
    let mut memory = DeviceMemory::default();
    let numbers = upload(&mut memory, &[0u32; 8]);
    let shape = Shape { grid: [blocks, 1], threads, dynamic_shared_bytes: 0 };
    launch(module, "k", shape, &Parameters::default().long(numbers), &mut memory)?;
    download(&mut memory, numbers, 8)
}

#[track_caller]
fn names(kind: Kind, (blocks, threads): (u32, u32), body: &str) {
    let fault = run(&kernel(64, body), blocks, threads).expect_err("a fault");
    assert_eq!(fault.kind, kind, "{fault}");
}

/// `%r3` = 4 tid, `%rd3` = the thread's own word of global memory, `%r4` of shared memory.
const PLACES: &str = "shl.b32 %r3, %r1, 2;\ncvt.u64.u32 %rd2, %r3;\nadd.s64 %rd3, %rd1, %rd2;\n\
                      add.u32 %r4, %r5, %r3;\n";

#[test]
fn invariant_a_sound_kernel_runs() {
    // Each of eight threads hands its number to the next through shared memory.
    let body = format!(
        "{PLACES}st.shared.u32 [%r4], %r1;\nbar.sync 0;\nadd.u32 %r6, %r1, 1;\n\
         and.b32 %r6, %r6, 7;\nshl.b32 %r6, %r6, 2;\nadd.u32 %r6, %r5, %r6;\n\
         ld.shared.u32 %r7, [%r6];\nst.global.u32 [%rd3], %r7;"
    );
    assert_eq!(run(&kernel(64, &body), 1, 8).unwrap(), [1, 2, 3, 4, 5, 6, 7, 0]);
    // The same without the barrier is a race.
    names(Kind::SharedRace, (1, 8), &body.replace("bar.sync 0;\n", ""));
}

#[test]
fn invariant_memory_faults_are_named() {
    let at = |offset: i32| format!("{PLACES}ld.global.u32 %r6, [%rd3+{offset}];");
    names(Kind::OutOfBounds, (1, 8), &at(4));
    names(Kind::Misaligned, (1, 4), &at(2));
    names(Kind::OutOfBounds, (1, 8), &format!("{PLACES}st.shared.u32 [%r4+64], %r1;"));
    names(Kind::Unwritten, (1, 8), &format!("{PLACES}ld.shared.u32 %r6, [%r4];"));
    // Two blocks write one word.
    names(Kind::BlockRace, (2, 1), "st.global.u32 [%rd1], %r2;");
    let copy = format!("{PLACES}cp.async.ca.shared.global [%r4], [%rd3], 4;\n");
    names(Kind::CopyAbandoned, (1, 8), &copy);
    let read = "cp.async.commit_group;\nld.shared.u32 %r6, [%r4];";
    names(Kind::CopyUnderWay, (1, 8), &format!("{copy}{read}"));
}

#[test]
fn invariant_threads_that_do_not_meet_are_named() {
    let some = "setp.lt.u32 %p1, %r1, 4;\n";
    names(Kind::BarrierDivergence, (1, 8), &format!("{some}@%p1 bar.sync 0;"));
    // Threads that have returned are not waited for.
    let gone = format!("{some}@%p1 ret;\nbar.sync 0;");
    run(&kernel(64, &gone), 1, 8).unwrap();
    let apart =
        format!("{some}@%p1 bra A;\nbar.sync 0;\nbra B;\nA:\nmov.u32 %r6, 0;\nbar.sync 0;\nB:\n");
    names(Kind::BarrierDivergence, (1, 8), &apart);
    let vote = format!("{some}@%p1 bra A;\nvote.sync.ballot.b32 %r6, %p1, 255;\nA:\n");
    names(Kind::AbsentLanes, (1, 8), &vote);
    names(Kind::AbsentLanes, (1, 8), "shfl.sync.bfly.b32 %r6, %r1, 1, 31, 15;");
    names(Kind::Endless, (1, 1), "A:\nbra A;");
}

#[test]
fn invariant_impossible_launches_and_unknown_text_are_named() {
    let module = kernel(64, "");
    for (blocks, threads) in [(0, 1), (1, 0), (1, 1025)] {
        let fault = run(&module, blocks, threads).expect_err("a refusal");
        assert_eq!(fault.kind, Kind::LaunchRefused, "{fault}");
    }
    let fault = run(&kernel(emulator::SHARED_BYTES_MAX + 1, ""), 1, 1).expect_err("a refusal");
    assert_eq!(fault.kind, Kind::LaunchRefused, "{fault}");
    for text in ["atom.global.add.u32 %r1, [%rd1], 1;", "setp.xx.s32 %p1, %r1, 0;", "frobnicate;"] {
        let text = format!(".visible .entry k(\n)\n{{\n.reg .b32 %r<2>;\n{text}\n}}\n");
        assert_eq!(Module::parse(&text).expect_err("no such text").kind, Kind::NotUnderstood);
    }
}
