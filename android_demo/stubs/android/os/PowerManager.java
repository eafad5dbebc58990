package android.os;

public final class PowerManager {
    public interface OnThermalStatusChangedListener {
        void onThermalStatusChanged(int status);
    }

    public int getCurrentThermalStatus() { return 0; }

    public void addThermalStatusListener(OnThermalStatusChangedListener listener) {}

    public void removeThermalStatusListener(OnThermalStatusChangedListener listener) {}
}
