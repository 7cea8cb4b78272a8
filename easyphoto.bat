@echo off
rem Run EasyPhoto without a WebUI; see easyphoto.sh for the commands.
setlocal
cd /d "%~dp0"
set VENV=%EASYPHOTO_VENV%
if "%VENV%"=="" set VENV=.venv
if not exist "%VENV%\Scripts\python.exe" (
  py -3.12 -m venv "%VENV%" 2>nul || py -3.11 -m venv "%VENV%" 2>nul || py -3.10 -m venv "%VENV%" 2>nul || python -m venv "%VENV%" || (
    echo EasyPhoto needs Python 3.10, 3.11 or 3.12.
    exit /b 1
  )
)
set WANTED=requirements-standalone.txt
if "%1"=="test" set WANTED=requirements-test.txt
fc /b "%WANTED%" "%VENV%\%WANTED%.done" >nul 2>nul || (
  echo Installing what %WANTED% lists into %VENV%: a few minutes, once.
  "%VENV%\Scripts\python.exe" -m pip install --quiet -r "%WANTED%" || exit /b 1
  "%VENV%\Scripts\python.exe" -m pip install --quiet --no-deps -r requirements-nodeps.txt || exit /b 1
  copy /y "%WANTED%" "%VENV%\%WANTED%.done" >nul
)
if "%1"=="test" (
  "%VENV%\Scripts\python.exe" -m pytest
) else (
  "%VENV%\Scripts\python.exe" -m easyphoto %*
)
