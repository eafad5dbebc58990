package androidx.test.ext.junit.runners;

public abstract class AndroidJUnit4 extends org.junit.runner.Runner {}
