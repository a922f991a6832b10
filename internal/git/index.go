package git

import (
	"crypto/sha1" //nolint:gosec // git's own checksum
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
)

// The file modes in an index.
const (
	ModeDir     = 0o040000
	ModeFile    = 0o100644
	ModeExec    = 0o100755
	ModeLink    = 0o120000
	ModeGitlink = 0o160000
)

// Entry is a path that git tracks.
type Entry struct {
	// Path is relative to the work tree's root.
	Path string
	// Mode is one of the modes above.
	Mode uint32
	// ID is the object's name: 20 bytes, or 32 in a repository with SHA-256.
	ID string
	// Size and the time are those of the file when it was last known to be
	// unchanged.
	Size             uint32
	MTimeSec, MTimeN uint32
	// Stage is 0, except for the sides of a merge conflict.
	Stage uint8
	// Assumed is set if git assumes the file to be unchanged (git update-index
	// --assume-unchanged); IntentToAdd that its content has not been added.
	Assumed, SkipWorktree, IntentToAdd bool
}

// ErrFormat reports that a file of git is damaged or has an unsupported format.
var ErrFormat = errors.New("unsupported or damaged format")

// ParseIndex parses an index of version 2, 3 or 4. idSize is the length of an
// object's name in bytes.
func ParseIndex(data string, idSize int) ([]Entry, error) {
	bad := func(text string, args ...any) ([]Entry, error) {
		return nil, fmt.Errorf("git index: %s: %w", fmt.Sprintf(text, args...), ErrFormat)
	}
	if len(data) < 12+idSize || data[:4] != "DIRC" {
		return bad("no header")
	}
	version, count := number(data[4:]), number(data[8:])
	if version < 2 || version > 4 {
		return bad("version %d", version)
	}
	body, sum := data[:len(data)-idSize], data[len(data)-idSize:]
	// With index.skipHash the checksum is zero.
	if sum != string(make([]byte, idSize)) && sum != hashOf(body, idSize) {
		return bad("checksum mismatch")
	}

	const stat = 40
	least := stat + idSize + 2
	if int64(count) > int64(len(body)/least) {
		return bad("%d entries in %d bytes", count, len(body))
	}
	entries := make([]Entry, 0, count)
	// Paths and names share the memory of the index, except in version 4, which
	// compresses paths.
	at, last := 12, ""
	for range count {
		if at+least > len(body) {
			return bad("truncated entry")
		}
		raw := body[at:]
		flags := short(raw[stat+idSize:])
		e := Entry{
			Mode: number(raw[24:]), Size: number(raw[36:]),
			MTimeSec: number(raw[8:]), MTimeN: number(raw[12:]),
			ID: raw[stat : stat+idSize], Stage: uint8(flags >> 12 & 3), Assumed: flags&0x8000 != 0,
		}
		next := at + least
		if flags&0x4000 != 0 {
			if version < 3 || next+2 > len(body) {
				return bad("unexpected extended flags")
			}
			extended := short(body[next:])
			e.SkipWorktree, e.IntentToAdd = extended&0x4000 != 0, extended&0x2000 != 0
			next += 2
		}
		keep := 0
		if version == 4 {
			strip, size := varint(body[next:])
			if size == 0 || strip > len(last) {
				return bad("invalid path prefix")
			}
			keep = len(last) - strip
			next += size
		}
		end := strings.IndexByte(body[next:], 0)
		if end < 0 {
			return bad("unterminated path")
		}
		e.Path = body[next : next+end]
		if keep > 0 {
			e.Path = last[:keep] + e.Path
		}
		next += end + 1
		if version < 4 {
			// Entries are padded to a multiple of eight.
			next = at + (next-1-at+8)/8*8
		}
		if e.Path == "" || e.Path[0] == '/' {
			return bad("invalid path")
		}
		if n := len(entries); n > 0 && !before(&entries[n-1], &e) {
			return bad("paths are not sorted")
		}
		entries = append(entries, e)
		at, last = next, e.Path
	}
	if at > len(body) {
		return bad("truncated entry")
	}
	return entries, checkExtensions(body[at:])
}

// before reports whether one entry sorts before another: by path, then by stage.
func before(a, b *Entry) bool {
	return a.Path < b.Path || a.Path == b.Path && a.Stage < b.Stage && a.Stage > 0
}

// checkExtensions rejects extensions that change the meaning of the entries, such as
// a split index.
func checkExtensions(rest string) error {
	for len(rest) >= 8 {
		name, size := rest[:4], number(rest[4:])
		if name == "link" {
			return fmt.Errorf("split git index is not supported (run git update-index --no-split-index): %w", ErrFormat)
		}
		// Lower-case extensions are mandatory. "sdir" only says that some
		// entries are directories.
		if name[0] >= 'a' && name != "sdir" {
			return fmt.Errorf("git index: extension %q: %w", name, ErrFormat)
		}
		if int64(size) > int64(len(rest)-8) {
			return fmt.Errorf("git index: truncated extension: %w", ErrFormat)
		}
		rest = rest[8+size:]
	}
	return nil
}

// varint decodes the number that precedes a path in version 4. size is 0 if it is
// malformed.
func varint(b string) (n, size int) {
	for i := range len(b) {
		c := b[i]
		if i == 4 {
			return 0, 0
		}
		if i > 0 {
			n++
		}
		n = n<<7 | int(c&0x7f)
		if c&0x80 == 0 {
			return n, i + 1
		}
	}
	return 0, 0
}

// number and short decode the big-endian number at the start of a text.
func number(s string) uint32 { return uint32(short(s))<<16 | uint32(short(s[2:])) }

func short(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

func hashOf(text string, idSize int) string {
	h := newHash(idSize)
	_, _ = io.Copy(h, strings.NewReader(text))
	return string(h.Sum(nil))
}

func newHash(idSize int) hash.Hash {
	if idSize == sha256.Size {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec // the names of git's objects
}
