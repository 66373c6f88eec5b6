/* SPDX-License-Identifier: Apache-2.0
 * Every system call that uzswap makes for itself executes inside section
 * uzswap_syscall_text (a C identifier, so that the linker provides
 * __start_ and __stop_ symbols for it). Syscall User Dispatch exempts exactly
 * that range; it compares the address after the instruction, which the `ret`
 * keeps inside. */
        .section uzswap_syscall_text, "ax", @progbits
        .p2align 6
        .globl uzswap_raw_syscall
        .hidden uzswap_raw_syscall
        .type uzswap_raw_syscall, @function
uzswap_raw_syscall:
        .cfi_startproc
        mov     %rdi, %rax
        mov     %rsi, %rdi
        mov     %rdx, %rsi
        mov     %rcx, %rdx
        mov     %r8, %r10
        mov     %r9, %r8
        mov     8(%rsp), %r9
        syscall
        ret
        .cfi_endproc
        .size uzswap_raw_syscall, . - uzswap_raw_syscall

/* long uzswap_raw_clone(flags, stack, parent_tid, child_tid, tls): the new
 * thread pops a function and its argument from its stack and never returns. */
        .globl uzswap_raw_clone
        .hidden uzswap_raw_clone
        .type uzswap_raw_clone, @function
uzswap_raw_clone:
        .cfi_startproc
        mov     $56, %eax
        mov     %rcx, %r10
        syscall
        test    %eax, %eax
        jz      1f
        ret
1:      .cfi_undefined rip
        xor     %ebp, %ebp
        pop     %rax
        pop     %rdi
        call    *%rax
        ud2
        .cfi_endproc
        .size uzswap_raw_clone, . - uzswap_raw_clone

        .section .note.GNU-stack, "", @progbits
