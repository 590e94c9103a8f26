package main

import "testing"

func TestATableThatHoldsNothingIsEmpty(t *testing.T) {
	for table, want := range map[string]bool{
		"-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n":      true,
		"-P INPUT ACCEPT\n-P FORWARD DROP\n-P OUTPUT ACCEPT\n":        false,
		"-P INPUT ACCEPT\n-N MINE\n-P FORWARD ACCEPT\n":               false,
		"-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-A FORWARD -j SOMETHING": false,
	} {
		if got := isEmpty(table); got != want {
			t.Errorf("%q: %v, want %v", table, got, want)
		}
	}
}
