package transport

import (
	"regexp"
	"strconv"
)

// contentRangeRE is compiled once and never changed.
var contentRangeRE = regexp.MustCompile(`^bytes (\d{1,18})-(?:\d{1,18}|\*)?/(\d{1,18}|\*)$`)

// ContentRange parses a Content-Range header. It returns where the content starts and
// the length of the whole, which is -1 if it is not known.
func ContentRange(header string) (start, total int64, ok bool) {
	m := contentRangeRE.FindStringSubmatch(header)
	if m == nil {
		return 0, 0, false
	}
	start, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		return 0, 0, false
	}
	total = -1
	if m[2] != "*" {
		if total, err = strconv.ParseInt(m[2], 10, 64); err != nil || total < start {
			return 0, 0, false
		}
	}
	return start, total, true
}
