package logstream

import "bytes"

// DropNULs moves the bytes of p that are not NUL to its front and returns how many
// there are.
func DropNULs(p []byte) int {
	kept := bytes.IndexByte(p, 0)
	if kept < 0 {
		return len(p)
	}
	for src := p[kept+1:]; len(src) > 0; {
		run := bytes.IndexByte(src, 0)
		if run < 0 {
			run = len(src)
		}
		kept += copy(p[kept:], src[:run])
		src = src[min(run+1, len(src)):]
	}
	return kept
}
