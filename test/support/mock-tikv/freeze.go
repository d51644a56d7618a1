package main

import (
	"net"
	"sync"
)

// ice is shut while a server is frozen.
type ice struct {
	mu     sync.Mutex
	thawed chan struct{}
}

func (i *ice) freeze() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thawed == nil {
		i.thawed = make(chan struct{})
	}
	return nil
}

func (i *ice) thaw() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.thawed != nil {
		close(i.thawed)
		i.thawed = nil
	}
	return nil
}

func (i *ice) wait() {
	i.mu.Lock()
	thawed := i.thawed
	i.mu.Unlock()
	if thawed != nil {
		<-thawed
	}
}

type frozenListener struct {
	net.Listener
	ice *ice
}

func (l frozenListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return frozenConn{conn, l.ice}, nil
}

type frozenConn struct {
	net.Conn
	ice *ice
}

func (c frozenConn) Read(b []byte) (int, error) {
	c.ice.wait()
	n, err := c.Conn.Read(b)
	c.ice.wait() // it was frozen while nothing came
	return n, err
}

func (c frozenConn) Write(b []byte) (int, error) {
	c.ice.wait()
	return c.Conn.Write(b)
}
