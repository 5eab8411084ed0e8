package liveness

import "golang.org/x/sys/unix"

func machineID() string { return sysctl("kern.uuid") }

func bootID() string { return sysctl("kern.bootsessionuuid") }

func sysctl(name string) string {
	s, err := unix.Sysctl(name)
	if err != nil {
		return ""
	}
	return s
}
