/* SPDX-License-Identifier: Apache-2.0
 * int64_t uzswap_chaos_clone(flags, stack, thread_pointer): see chaos.cc. */
#ifdef UZSWAP_TEST_HOOKS
        .hidden uzswap_chaos_main
        .section uzswap_syscall_text, "ax", @progbits
        .p2align 5
        .globl uzswap_chaos_clone
        .hidden uzswap_chaos_clone
        .type uzswap_chaos_clone, @function
uzswap_chaos_clone:
        mov     %rdx, %r8
        xor     %edx, %edx
        xor     %r10d, %r10d
        mov     $56, %eax
        syscall
        test    %rax, %rax
        jz      1f
        ret
1:      xor     %ebp, %ebp
        and     $-64, %rsp
        call    uzswap_chaos_main
        ud2
        .size uzswap_chaos_clone, . - uzswap_chaos_clone
#endif
        .section .note.GNU-stack, "", @progbits
