/* SPDX-License-Identifier: Apache-2.0
 * The ways in and out of uzswap_dispatch. Everything that executes `syscall`
 * lies in section uzswap_syscall_text, which Syscall User Dispatch exempts.
 * Offsets are those of SyscallFrame (syscall_frame.h): r15 0, r14 8, r13 16,
 * r12 24, rbp 32, rbx 40, r10 48, r9 56, r8 64, rdi 72, rsi 80, rdx 88,
 * rax 96, origin 104, resume 112, rip 120. The frame ends 128 bytes (the red
 * zone) below the program's stack pointer, so CFA = frame + 256. */

        .hidden uzswap_dispatch
        .hidden uzswap_stack_is_managed
        .hidden uzswap_thread_start
        .hidden uzswap_vfork_return
        .hidden uzswap_prepare_sigreturn
        .hidden uzswap_tls
        .hidden uzswap_xsave_bytes

        .text

/* A patched site: (%rsp) is where the stub goes on, the 8 bytes before its
 * call instruction (6 bytes long) hold the program's rip. rcx and r11 are
 * free: the real instruction clobbers them too. */
        .globl uzswap_entry_patched
        .hidden uzswap_entry_patched
        .type uzswap_entry_patched, @function
        .p2align 5
uzswap_entry_patched:
        .cfi_startproc
        .cfi_def_cfa rsp, 136
        .cfi_offset rip, -136
        mov     (%rsp), %r11
        mov     -14(%r11), %rcx
        mov     %rcx, (%rsp)
        push    %r11
        push    $0
        jmp     save_registers
        .cfi_endproc
        .size uzswap_entry_patched, . - uzswap_entry_patched

/* A dispatched call: the SIGSYS handler put the program's rip at (%rsp), below
 * the red zone, and continued the thread here. */
        .globl uzswap_entry_dispatched
        .hidden uzswap_entry_dispatched
        .type uzswap_entry_dispatched, @function
        .p2align 5
uzswap_entry_dispatched:
        .cfi_startproc
        .cfi_def_cfa rsp, 136
        .cfi_offset rip, -136
        push    $0
        push    $1
save_registers:
        push    %rax
        push    %rdx
        push    %rsi
        push    %rdi
        push    %r8
        push    %r9
        push    %r10
        push    %rbx
        push    %rbp
        push    %r12
        push    %r13
        push    %r14
        push    %r15
        mov     %rsp, %rbx
        .cfi_def_cfa rbx, 256
        .cfi_offset r15, -256
        .cfi_offset r14, -248
        .cfi_offset r13, -240
        .cfi_offset r12, -232
        .cfi_offset rbp, -224
        .cfi_offset rbx, -216
        and     $-64, %rsp
        cld
        mov     %rbx, %rdi
        call    uzswap_stack_is_managed
        test    %eax, %eax
        jnz     4f
        mov     %rbx, %rdi
        call    uzswap_dispatch
        jmp     uzswap_resume_program
        /* The program's stack can be evicted while an engine lock is held or
         * while the kernel writes to our locals: leave it. uzswap_tls says
         * where our stack is free and, for a signal that arrives on it, which
         * frame of the program stands behind. */
4:      mov     uzswap_tls@gottpoff(%rip), %rax
        mov     %fs:8(%rax), %r12
        mov     %rbx, %fs:8(%rax)
        mov     %fs:(%rax), %r13
        lea     -64(%r13), %rsp
        and     $-64, %rsp
        mov     %rbx, %rdi
        call    uzswap_dispatch
        mov     uzswap_tls@gottpoff(%rip), %rax
        /* Off the private stack first: a signal there needs tls.frame. */
        mov     %rbx, %rsp
        mov     %r12, %fs:8(%rax)
        mov     %r13, %fs:(%rax)
        .globl uzswap_resume_program
        .hidden uzswap_resume_program
uzswap_resume_program:                  /* rbx: the frame */
        mov     %rbx, %rsp
        pop     %r15
        pop     %r14
        pop     %r13
        pop     %r12
        pop     %rbp
        pop     %rbx
        pop     %r10
        pop     %r9
        pop     %r8
        pop     %rdi
        pop     %rsi
        pop     %rdx
        pop     %rax
        cmpq    $0, (%rsp)
        lea     8(%rsp), %rsp
        pop     %r11
        mov     (%rsp), %rcx
        jne     2f
        mov     %r11, (%rsp)            /* ret: the stub's call is paired */
        ret
2:      ret     $128
        .cfi_endproc
        .size uzswap_entry_dispatched, . - uzswap_entry_dispatched

/* int64_t uzswap_call_saving_vectors(int64_t (*fn)(void*), void* argument)
 * Calls fn with the vector and x87 state saved around it. */
        .globl uzswap_call_saving_vectors
        .hidden uzswap_call_saving_vectors
        .type uzswap_call_saving_vectors, @function
        .p2align 5
uzswap_call_saving_vectors:
        .cfi_startproc
        push    %rbp
        .cfi_def_cfa_offset 16
        .cfi_offset rbp, -16
        mov     %rsp, %rbp
        .cfi_def_cfa rbp, 16
        push    %rbx
        push    %r12
        .cfi_offset rbx, -24
        .cfi_offset r12, -32
        mov     uzswap_xsave_bytes(%rip), %rax
        sub     %rax, %rsp
        and     $-64, %rsp
        mov     %rsp, %r12
        mov     %rdi, %rbx
        /* The header's reserved bytes must be zero for xrstor. */
        xor     %eax, %eax
        mov     %rax, 512(%r12)
        mov     %rax, 520(%r12)
        mov     %rax, 528(%r12)
        mov     %rax, 536(%r12)
        mov     %rax, 544(%r12)
        mov     %rax, 552(%r12)
        mov     %rax, 560(%r12)
        mov     %rax, 568(%r12)
        mov     $-1, %eax
        mov     $-1, %edx
        xsave64 (%r12)
        mov     %rsi, %rdi
        call    *%rbx
        mov     %rax, %rbx
        mov     $-1, %eax
        mov     $-1, %edx
        xrstor64 (%r12)
        mov     %rbx, %rax
        lea     -16(%rbp), %rsp
        pop     %r12
        pop     %rbx
        pop     %rbp
        .cfi_def_cfa rsp, 8
        ret
        .cfi_endproc
        .size uzswap_call_saving_vectors, . - uzswap_call_saving_vectors

        .section uzswap_syscall_text, "ax", @progbits

/* Returns from our own handlers: the frame is on our alternate stack. */
        .p2align 5
        .globl uzswap_own_restorer
        .hidden uzswap_own_restorer
        .type uzswap_own_restorer, @function
        nop
uzswap_own_restorer:
        mov     $15, %rax
        syscall
        ud2
        .size uzswap_own_restorer, . - uzswap_own_restorer

/* Returns from the program's handlers. The frame (ucontext at rsp) is on the
 * program's stack, which the kernel may not be able to read: copy it to memory
 * of ours first. Signals are blocked by a constant mask, so nothing is written
 * before we have left the program's stack. The CFI is that of a signal frame
 * (offsets of gregs in ucontext), so unwinders walk through handlers. */
        .p2align 5
        .cfi_startproc
        .cfi_signal_frame
        .cfi_escape 0x0f,4,0x77,0xa0,1,0x06     /* CFA = *(rsp+160) */
        .cfi_escape 0x10,8,2,0x77,40            /* r8 */
        .cfi_escape 0x10,9,2,0x77,48
        .cfi_escape 0x10,10,2,0x77,56
        .cfi_escape 0x10,11,3,0x77,0xc0,0       /* r11: 64 */
        .cfi_escape 0x10,12,3,0x77,0xc8,0       /* r12: 72 */
        .cfi_escape 0x10,13,3,0x77,0xd0,0       /* r13: 80 */
        .cfi_escape 0x10,14,3,0x77,0xd8,0       /* r14: 88 */
        .cfi_escape 0x10,15,3,0x77,0xe0,0       /* r15: 96 */
        .cfi_escape 0x10,5,3,0x77,0xe8,0        /* rdi: 104 */
        .cfi_escape 0x10,4,3,0x77,0xf0,0        /* rsi: 112 */
        .cfi_escape 0x10,6,3,0x77,0xf8,0        /* rbp: 120 */
        .cfi_escape 0x10,3,3,0x77,0x80,1        /* rbx: 128 */
        .cfi_escape 0x10,1,3,0x77,0x88,1        /* rdx: 136 */
        .cfi_escape 0x10,0,3,0x77,0x90,1        /* rax: 144 */
        .cfi_escape 0x10,2,3,0x77,0x98,1        /* rcx: 152 */
        .cfi_escape 0x10,7,3,0x77,0xa0,1        /* rsp: 160 */
        .cfi_escape 0x10,16,3,0x77,0xa8,1       /* rip: 168 */
        nop
        .globl uzswap_program_restorer
        .hidden uzswap_program_restorer
        .type uzswap_program_restorer, @function
uzswap_program_restorer:
        mov     %rsp, %rbx
        mov     $14, %eax                       /* rt_sigprocmask */
        xor     %edi, %edi                      /* SIG_BLOCK */
        lea     blocked_mask(%rip), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        mov     uzswap_tls@gottpoff(%rip), %rax
        mov     %fs:(%rax), %rsp
        and     $-64, %rsp
        cld
        mov     %rbx, %rdi
        call    uzswap_prepare_sigreturn
        mov     %rax, %rsp
        mov     $15, %eax
        syscall
        ud2
        .cfi_endproc
        .size uzswap_program_restorer, . - uzswap_program_restorer

/* int64_t uzswap_clone_onto(CloneStart* start): clone onto another stack.
 * CloneStart: flags 0, frame 8 (on the new stack), ptid 16, ctid 24, tls 32.
 * The parent returns the kernel's result; the child starts on the new stack at
 * the frame, is prepared by uzswap_thread_start(start), and resumes there. */
        .p2align 5
        .globl uzswap_clone_onto
        .hidden uzswap_clone_onto
        .type uzswap_clone_onto, @function
uzswap_clone_onto:
        .cfi_startproc
        push    %r12
        .cfi_def_cfa_offset 16
        .cfi_offset r12, -16
        mov     %rdi, %r12
        mov     $56, %eax
        mov     0(%r12), %rdi
        mov     8(%r12), %rsi
        mov     16(%r12), %rdx
        mov     24(%r12), %r10
        mov     32(%r12), %r8
        syscall
        test    %rax, %rax
        jz      3f
        pop     %r12
        .cfi_def_cfa_offset 8
        .cfi_restore r12
        ret
        .cfi_undefined rip
3:      mov     %rsp, %rbx
        xor     %ebp, %ebp
        and     $-64, %rsp
        mov     %r12, %rdi
        call    uzswap_thread_start
        jmp     uzswap_resume_program
        .cfi_endproc
        .size uzswap_clone_onto, . - uzswap_clone_onto

/* void uzswap_vfork(VforkContext* context): parent and child share the stack,
 * and the child will overwrite it: both resume from `context` (unmanaged
 * memory), which starts with a copy of the SyscallFrame and ends with the signal
 * mask to put back: signals are blocked while we are here. Never returns;
 * uzswap_vfork_return(context, result) rebuilds the frame and returns it. */
        .p2align 5
        .globl uzswap_vfork
        .hidden uzswap_vfork
        .type uzswap_vfork, @function
uzswap_vfork:
        .cfi_startproc
        .cfi_undefined rip
        mov     %rdi, %r12
        mov     96(%r12), %rax
        mov     72(%r12), %rdi
        mov     80(%r12), %rsi
        mov     88(%r12), %rdx
        mov     48(%r12), %r10
        mov     64(%r12), %r8
        syscall
        mov     uzswap_tls@gottpoff(%rip), %rcx
        mov     %fs:(%rcx), %rsp
        and     $-64, %rsp
        mov     %r12, %rdi
        mov     %rax, %rsi
        call    uzswap_vfork_return
        mov     %rax, %rbx
        mov     %rbx, %rsp
        mov     $14, %eax                       /* rt_sigprocmask */
        mov     $2, %edi                        /* SIG_SETMASK */
        lea     136(%r12), %rsi
        xor     %edx, %edx
        mov     $8, %r10d
        syscall
        jmp     uzswap_resume_program
        .cfi_endproc
        .size uzswap_vfork, . - uzswap_vfork

/* void uzswap_unmap_and_exit(void* block, size_t bytes, int code): the last
 * thing a thread does; the stack it stands on may be in the block. */
        .p2align 5
        .globl uzswap_unmap_and_exit
        .hidden uzswap_unmap_and_exit
        .type uzswap_unmap_and_exit, @function
uzswap_unmap_and_exit:
        mov     %rdx, %r12
        mov     $11, %eax
        syscall
        mov     $60, %eax
        mov     %r12, %rdi
        syscall
        ud2
        .size uzswap_unmap_and_exit, . - uzswap_unmap_and_exit

        .section .rodata
        .p2align 3
/* Everything but SIGBUS and SIGSYS. */
blocked_mask:
        .quad   ~((1 << 6) | (1 << 30))

        .section .note.GNU-stack, "", @progbits
