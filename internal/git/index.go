package git

import (
	"bytes"
	"crypto/sha1" //nolint:gosec // git's own checksum
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"strings"
)

// The file modes that the index has.
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
	ID []byte
	// Size and the time are those that the file had when it was last known to
	// be unchanged.
	Size             uint32
	MTimeSec, MTimeN uint32
	// Stage is 0 but for the sides of a merge conflict.
	Stage int
	// Assumed says that git was told not to look at the file; IntentToAdd that
	// its content has not been added.
	Assumed, SkipWorktree, IntentToAdd bool
}

// ErrFormat is matched where a file of git's has a form that is not known, or
// none at all.
var ErrFormat = errors.New("not a form that is known")

// ParseIndex reads an index of version 2, 3 or 4. idSize is the length of an
// object's name in bytes.
func ParseIndex(data []byte, idSize int) ([]Entry, error) {
	bad := func(text string, args ...any) ([]Entry, error) {
		return nil, fmt.Errorf("git's index: %s: %w", fmt.Sprintf(text, args...), ErrFormat)
	}
	if len(data) < 12+idSize || string(data[:4]) != "DIRC" {
		return bad("no header")
	}
	version, count := binary.BigEndian.Uint32(data[4:]), binary.BigEndian.Uint32(data[8:])
	if version < 2 || version > 4 {
		return bad("version %d", version)
	}
	body, sum := data[:len(data)-idSize], data[len(data)-idSize:]
	h := newHash(idSize)
	h.Write(body)
	// index.skipHash leaves zeros.
	if !bytes.Equal(sum, make([]byte, idSize)) && !bytes.Equal(sum, h.Sum(nil)) {
		return bad("the checksum is wrong")
	}

	const stat = 40
	least := stat + idSize + 2
	if int64(count) > int64(len(body)/least) {
		return bad("%d entries in %d bytes", count, len(body))
	}
	entries := make([]Entry, 0, count)
	// One copy of the whole is what all paths are parts of; in version 4 they
	// are put together.
	text := string(body)
	at, last := 12, ""
	for range count {
		if at+least > len(body) {
			return bad("it ends within an entry")
		}
		raw := body[at:]
		flags := binary.BigEndian.Uint16(raw[stat+idSize:])
		e := Entry{
			Mode: binary.BigEndian.Uint32(raw[24:]), Size: binary.BigEndian.Uint32(raw[36:]),
			MTimeSec: binary.BigEndian.Uint32(raw[8:]), MTimeN: binary.BigEndian.Uint32(raw[12:]),
			ID: raw[stat : stat+idSize : stat+idSize], Stage: int(flags >> 12 & 3), Assumed: flags&0x8000 != 0,
		}
		next := at + least
		if flags&0x4000 != 0 {
			if version < 3 || next+2 > len(body) {
				return bad("extended flags where there are none")
			}
			extended := binary.BigEndian.Uint16(body[next:])
			e.SkipWorktree, e.IntentToAdd = extended&0x4000 != 0, extended&0x2000 != 0
			next += 2
		}
		keep := 0
		if version == 4 {
			strip, size := varint(body[next:])
			if size == 0 || strip > len(last) {
				return bad("a path that continues none")
			}
			keep = len(last) - strip
			next += size
		}
		end := strings.IndexByte(text[next:], 0)
		if end < 0 {
			return bad("a path without an end")
		}
		e.Path = text[next : next+end]
		if keep > 0 {
			e.Path = last[:keep] + e.Path
		}
		next += end + 1
		if version < 4 {
			// Entries are padded to a multiple of eight.
			next = at + (next-1-at+8)/8*8
		}
		if e.Path == "" || e.Path[0] == '/' {
			return bad("a path that is none")
		}
		entries = append(entries, e)
		at, last = next, e.Path
	}
	if at > len(body) {
		return bad("it ends within an entry")
	}
	return entries, checkExtensions(body[at:])
}

// checkExtensions refuses an index of which a part is elsewhere.
func checkExtensions(rest []byte) error {
	for len(rest) >= 8 {
		name, size := string(rest[:4]), binary.BigEndian.Uint32(rest[4:])
		if name == "link" {
			return fmt.Errorf("git's index is split (\"git update-index --no-split-index\" makes it whole): %w", ErrFormat)
		}
		// Those in lower case must be understood; "sdir" only says that some
		// entries are directories.
		if name[0] >= 'a' && name != "sdir" {
			return fmt.Errorf("git's index: the extension %q: %w", name, ErrFormat)
		}
		if int64(size) > int64(len(rest)-8) {
			return fmt.Errorf("git's index: it ends within an extension: %w", ErrFormat)
		}
		rest = rest[8+size:]
	}
	return nil
}

// varint reads the number that begins a path of version 4; size is 0 if there
// is none.
func varint(b []byte) (n, size int) {
	for i, c := range b {
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

func newHash(idSize int) hash.Hash {
	if idSize == sha256.Size {
		return sha256.New()
	}
	return sha1.New() //nolint:gosec // the names of git's objects
}
