/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The kernel's types for the architecture that the object is built for; `make headers` regenerates them. */
#ifndef __OOMTRACER_VMLINUX_H__
#define __OOMTRACER_VMLINUX_H__

/* bpftool's guard: by it bpf/bpf_tracing.h knows that struct pt_regs has the kernel's names, not libc's. */
#define __VMLINUX_H__

#if defined(__TARGET_ARCH_x86)
#include "vmlinux_generated_x86.h"
#elif defined(__TARGET_ARCH_arm64)
#include "vmlinux_generated_arm64.h"
#else
#error "define __TARGET_ARCH_x86 or __TARGET_ARCH_arm64"
#endif

#endif /* __OOMTRACER_VMLINUX_H__ */
