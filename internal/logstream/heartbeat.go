package logstream

import "bytes"

// DropNULs moves the bytes of p that are not NUL to its front and returns how many
// there are.
func DropNULs(p []byte) int {
	kept := bytes.IndexByte(p, 0)
	if kept < 0 {
		return len(p)
	}
	for src := p[kept:]; len(src) > 0; {
		if run := bytes.IndexByte(src, 0); run < 0 || run >= shortRun {
			// Text is moved as a whole up to the next NUL.
			if run < 0 {
				run = len(src)
			}
			kept += copy(p[kept:], src[:run])
			src = src[run:]
			continue
		}
		block := src[:min(shortRun, len(src))]
		for _, c := range block {
			p[kept] = c
			if c != 0 {
				kept++
			}
		}
		src = src[len(block):]
	}
	return kept
}

// shortRun is the length of text up to which moving single bytes is as fast as a search
// and a copy.
const shortRun = 64
