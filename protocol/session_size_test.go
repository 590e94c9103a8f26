package protocol

import (
	"testing"
	"unsafe"
)

// The heap's sizes go from 480 to 512 bytes: one field more costs every session 32.
func TestASessionFitsIts480Bytes(t *testing.T) {
	if size := unsafe.Sizeof(Session{}); size > 480 {
		t.Errorf("a Session has %d bytes", size)
	}
}
